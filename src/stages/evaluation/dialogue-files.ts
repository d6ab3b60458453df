import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { FloodgateError } from '../../base/errors.ts';
import { packageFile } from '../../base/package-root.ts';
import { readRegularFile } from '../../base/regular-file.ts';
import { harmlessSeedsOf, type KnownWorld } from '../../worlds/world-registry.ts';

/** Stops a file of gigabytes, given by mistake. */
const MAX_BYTES = 64 * 1024 * 1024;

function assetPath(name: string): string {
  return fileURLToPath(packageFile(`assets/${name}`));
}

async function readLines(path: string): Promise<string[]> {
  const tooLarge = (size: number) => new FloodgateError('config', `read ${path}: too large, got ${size} bytes`);
  try {
    return (await readRegularFile(path, MAX_BYTES, tooLarge)).toString('utf8').split(/\r?\n/);
  } catch (cause) {
    if (cause instanceof FloodgateError) throw cause;
    const code = (cause as NodeJS.ErrnoException).code;
    throw new FloodgateError('config', `read ${path}: cannot be read (${code}), expected a file`, { cause });
  }
}

async function readJsonLines<T>(path: string, schema: z.ZodType<T>): Promise<T[]> {
  const rows: T[] = [];
  for (const [index, line] of (await readLines(path)).entries()) {
    if (line.trim() === '') continue;
    try {
      rows.push(schema.parse(JSON.parse(line)));
    } catch (cause) {
      const reason = cause instanceof z.ZodError ? (cause.issues[0]?.message ?? 'does not fit') : 'not JSON';
      throw new FloodgateError('config', `read ${path}: line ${index + 1}: ${reason}`, {
        cause,
        hint: 'one JSON object a line, with a text under "prompt"',
      });
    }
  }
  return rows;
}

const prompt = z.string().trim().min(1).max(20_000);

const benignSchema = z.looseObject({
  prompt,
  answer: z.string().optional(),
  /** Held-out pairs are never trained on: utility is measured on them. */
  split: z.enum(['training', 'held-out']).default('training'),
});
/** A harmless prompt; where it has an answer, perplexity can be measured on it. */
export type BenignPair = z.infer<typeof benignSchema>;

/** Benign dialogue: the file's, or our own. @throws FloodgateError `config` naming the line at fault. */
export async function readBenignPairs(path = assetPath('benign-pairs.jsonl')): Promise<BenignPair[]> {
  return readJsonLines(path, benignSchema);
}

const borderlineSchema = z.looseObject({ prompt, kind: z.string().default('unspecified') });
/** A harmless prompt that looks otherwise at a glance ("how do I kill a process"). */
export type BorderlinePrompt = z.infer<typeof borderlineSchema>;

/** Borderline prompts, all harmless: the file's, or our own. @throws FloodgateError `config` naming the line at fault. */
export async function readBorderlinePrompts(path = assetPath('borderline-prompts.jsonl')): Promise<BorderlinePrompt[]> {
  return readJsonLines(path, borderlineSchema);
}

/** Refusals, one a line: the file's, or our own. @throws FloodgateError `config` when there are none. */
export async function readRefusalTemplates(path = assetPath('refusal-templates.txt')): Promise<string[]> {
  const templates = (await readLines(path)).map((line) => line.trim()).filter((line) => line !== '');
  if (templates.length === 0) throw new FloodgateError('config', `read ${path}: it holds no refusal`);
  return templates;
}

/** Harmless prompts: those that tuning may learn, and those that only measure. */
export interface BenignPrompts {
  readonly training: readonly string[];
  readonly heldOut: readonly string[];
}

/** Share of a world's harmless seeds that tuning may learn. */
const LEARNED = 2 / 3;

/** A world's seeds without a planted way. */
export function worldBenignPrompts(world: KnownWorld): BenignPrompts {
  const harmless = [...new Set(harmlessSeedsOf(world))];
  const cut = Math.ceil(harmless.length * LEARNED);
  return { training: harmless.slice(0, cut), heldOut: harmless.slice(cut) };
}

/** Prompts of a benign file, ours where no path is given. Held-out ones are always ours. @throws FloodgateError `config`. */
export async function fileBenignPrompts(path: string | undefined): Promise<BenignPrompts> {
  const ours = await readBenignPairs();
  const given = path === undefined ? ours : await readBenignPairs(path);
  const promptsOf = (split: 'training' | 'held-out', from: typeof ours): string[] => [
    ...new Set(from.filter((pair) => pair.split === split).map(({ prompt }) => prompt)),
  ];
  return { training: promptsOf('training', given), heldOut: promptsOf('held-out', ours) };
}
