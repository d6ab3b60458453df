import { monotonicMs } from '../../base/clock.ts';
import { GraphBuilder } from '../graph/builder.ts';
import { openSession } from './session.ts';
import { float32Tensor } from './tensors.ts';

const SIZE = 768;
const ROWS = 320;
const ROUNDS = 5;

/** The CPU's fp32 matmul rate in GFLOP/s at the size of a training step: the best of a few short rounds. */
export async function measureMatmulRate(threads: number): Promise<number> {
  const g = new GraphBuilder();
  const x = g.input('x', 'float32', [ROWS, SIZE]);
  const weight = g.constant('float32', [SIZE, SIZE], new Float32Array(SIZE * SIZE).fill(0.01));
  g.output('y', g.linear(x, weight, 'inOut'));
  await using session = await openSession(g.build(), { device: 'cpu', threads, label: 'matmul rate' });
  const feeds = { x: float32Tensor(new Float32Array(ROWS * SIZE).fill(0.5), [ROWS, SIZE]) };
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const started = monotonicMs();
    await session.run(feeds);
    if (round > 0) best = Math.min(best, monotonicMs() - started); // the first run allocates
  }
  return (2 * ROWS * SIZE * SIZE) / (best * 1e6);
}
