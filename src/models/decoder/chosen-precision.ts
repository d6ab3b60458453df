import { mkdir, readFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import { monotonicMs } from '../../base/clock.ts';
import { GraphBuilder } from '../../engine/graph/builder.ts';
import { openSession, runtimeVersion } from '../../engine/runtime/session.ts';
import { float32Tensor } from '../../engine/runtime/tensors.ts';

/** Rows and sizes of the product that is timed: a batch of answers in the feed-forward block of a small model. */
const ROWS = 64;
const IN = 768;
const OUT = 3072;
/** Rounds that count; one before them allocates. */
const ROUNDS = 7;
/** int8 answers a little differently, so it must gain this much to be chosen. */
const LEAST_GAIN = 1.2;

/** The time of a matmul in fp32 divided by its time in int8, here. */
async function measureGain(threads: number): Promise<number> {
  const x = {
    x: float32Tensor(
      Float32Array.from({ length: ROWS * IN }, (_, i) => Math.sin(i)),
      [ROWS, IN],
    ),
  };
  const compute = { device: 'cpu', threads } as const;
  await using fp32 = await openSession(product('fp32'), { ...compute, label: 'rate in fp32' });
  await using int8 = await openSession(product('int8'), { ...compute, label: 'rate in int8' });
  const best = { fp32: Number.POSITIVE_INFINITY, int8: Number.POSITIVE_INFINITY };
  for (let round = 0; round <= ROUNDS; round++) {
    for (const [precision, session] of [['fp32', fp32] as const, ['int8', int8] as const]) {
      const started = monotonicMs();
      await session.run(x);
      if (round > 0) best[precision] = Math.min(best[precision], monotonicMs() - started);
    }
  }
  return best.fp32 / best.int8;
}

function product(precision: 'fp32' | 'int8') {
  const g = new GraphBuilder();
  const x = g.input('x', 'float32', [ROWS, IN]);
  if (precision === 'fp32') {
    g.output('y', g.linear(x, g.constant('float32', [IN, OUT], new Float32Array(IN * OUT).fill(0.01)), 'inOut'));
    return g.build();
  }
  const weight = g.constant('int8', [IN, OUT], new Int8Array(IN * OUT).fill(1));
  const scales = g.constant('float32', [OUT], new Float32Array(OUT).fill(0.01));
  g.output('y', g.int8Linear(x, weight, scales));
  return g.build();
}

const storedGains = z.record(z.string(), z.number().positive());

/** Gains that were measured before, by processor; none where the file is missing or is not of this form. */
async function readGains(file: string): Promise<Record<string, number>> {
  try {
    return storedGains.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch {
    return {};
  }
}

export interface ChosenPrecision {
  readonly precision: 'fp32' | 'int8';
  /** How many times as fast int8 is as fp32. */
  readonly gain: number;
}

/**
 * The faster precision of a frozen model on this processor. It is measured once, in a fifth of a second, and kept in
 * the model cache: a resumed run finds the same.
 *
 * @param cacheDir folder of the model cache.
 */
export async function choosePrecision(
  threads: number,
  cacheDir: string,
  measure: (threads: number) => Promise<number> = measureGain,
): Promise<ChosenPrecision> {
  const file = path.join(cacheDir, 'int8-gain.json');
  const gains = await readGains(file);
  const processor = `${cpus()[0]?.model ?? process.arch}, ${threads} threads, ONNX Runtime ${runtimeVersion()}`;
  const known = gains[processor];
  const gain = known ?? (await measure(threads));
  if (known === undefined) {
    await mkdir(cacheDir, { recursive: true });
    await writeFileAtomically(file, (handle) =>
      handle.writeFile(`${JSON.stringify({ ...gains, [processor]: gain }, null, 2)}\n`),
    );
  }
  return { precision: gain >= LEAST_GAIN ? 'int8' : 'fp32', gain };
}
