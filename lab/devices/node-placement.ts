import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';

/** Nodes of one op that one provider ran. */
export interface Placement {
  readonly op: string;
  /** As the runtime names it, such as `WebGpuExecutionProvider`. */
  readonly provider: string;
  readonly nodes: number;
  /** Whether such a node reads or writes floats: without any it computes sizes and indices. */
  readonly hasFloats: boolean;
}

const event = z.looseObject({
  cat: z.string(),
  name: z.string(),
  args: z.looseObject({
    op_name: z.string().optional(),
    provider: z.string().optional(),
    input_type_shape: z.array(z.record(z.string(), z.unknown())).optional(),
    output_type_shape: z.array(z.record(z.string(), z.unknown())).optional(),
  }),
});

const FLOATS = /^(float|float16|double)$/;

/**
 * Reads and removes the profiles that sessions left behind the prefix. Each node is counted once, however often it ran.
 */
export function takePlacements(profilePrefix: string): Placement[] {
  const folder = dirname(profilePrefix);
  const seen = new Set<string>();
  const found = new Map<string, Placement>();
  for (const file of readdirSync(folder).filter((name) => name.startsWith(basename(profilePrefix)))) {
    const events = z.array(z.looseObject({})).parse(JSON.parse(readFileSync(join(folder, file), 'utf8')));
    rmSync(join(folder, file));
    for (const raw of events) {
      const parsed = event.safeParse(raw);
      if (!parsed.success || parsed.data.cat !== 'Node') continue;
      const {
        op_name: op,
        provider,
        input_type_shape: inputs = [],
        output_type_shape: outputs = [],
      } = parsed.data.args;
      if (op === undefined || provider === undefined) continue;
      const hasFloats = [...inputs, ...outputs].some((types) => Object.keys(types).some((type) => FLOATS.test(type)));
      const node = `${file} ${parsed.data.name}`;
      if (seen.has(node)) continue;
      seen.add(node);
      const key = `${op} ${provider} ${hasFloats}`;
      const nodes = (found.get(key)?.nodes ?? 0) + 1;
      found.set(key, { op, provider, nodes, hasFloats });
    }
  }
  return [...found.values()].sort((a, b) => a.op.localeCompare(b.op) || a.provider.localeCompare(b.provider));
}
