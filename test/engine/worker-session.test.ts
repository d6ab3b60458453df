import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { expect, test } from 'vitest';
import { GraphBuilder } from '../../src/engine/graph/builder.ts';
import { liveSessionLabels, openSession } from '../../src/engine/runtime/session.ts';
import { float32Data, float32Tensor } from '../../src/engine/runtime/tensors.ts';

const SIZE = 512;

/** Squares a stochastic matrix eight times: about two gigaflops, far more than one turn of the event loop should take. */
function heavyGraph() {
  const g = new GraphBuilder();
  let value = g.input('x', 'float32', [SIZE, SIZE]);
  for (let i = 0; i < 8; i++) value = g.matmul(value, value);
  g.output('y', value);
  return g.build();
}

/** Rows of positive numbers that sum to about 1. */
const matrix = (): Float32Array => Float32Array.from({ length: SIZE * SIZE }, (_, i) => (1 + Math.sin(i)) / SIZE);

async function runIn(ownThread: boolean, fetches: boolean): Promise<{ y: Float32Array; longestMs: number }> {
  await using session = await openSession(heavyGraph(), { label: 'heavy', device: 'cpu', threads: 1, ownThread });
  const x = matrix();
  const given = float32Tensor(new Float32Array(SIZE * SIZE), [SIZE, SIZE]);
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  // A view into a larger buffer: only its own part may be sent.
  const wide = new Float32Array(2 * x.length);
  wide.set(x, x.length);
  const feeds = { x: float32Tensor(wide.subarray(x.length), [SIZE, SIZE]) };
  const outputs = fetches ? await session.run(feeds, { y: given }) : await session.run(feeds);
  await new Promise((resolve) => setTimeout(resolve, 5));
  delay.disable();
  expect(wide.subarray(x.length)).toEqual(x);
  if (fetches) expect(float32Data(outputs.y)).toBe(given.data);
  return { y: float32Data(outputs.y), longestMs: delay.max / 1e6 };
}

test('a session in its own thread gives the same bits and leaves this thread free', async () => {
  const here = await runIn(false, false);
  const there = await runIn(true, false);
  expect(there.y).toEqual(here.y);
  expect((await runIn(true, true)).y).toEqual(here.y);
  expect(there.longestMs).toBeLessThan(here.longestMs / 2);
}, 60_000);

test('the runtime says why it refuses a run, and a closed session says so', async () => {
  const session = await openSession(heavyGraph(), { label: 'heavy', device: 'cpu', threads: 1, ownThread: true });
  const wrong = { x: float32Tensor(new Float32Array(4), [2, 2]) };
  await expect(session.run(wrong)).rejects.toThrow(/run heavy: .*invalid dimensions/i);
  await session.close();
  await expect(session.run(wrong)).rejects.toThrow('the session is closed');
}, 60_000);

test('a graph that the runtime refuses is refused when it is opened', async () => {
  const g = new GraphBuilder();
  const x = g.input('x', 'float32', [2]);
  const w = g.externalWeight('w', [2], { location: 'missing.bin', offset: 0, byteLength: 8 });
  g.output('y', g.add(x, w));
  const weightFolder = mkdtempSync(path.join(tmpdir(), 'floodgate-worker-'));
  const options = { label: 'broken', device: 'cpu', threads: 1, ownThread: true, weightFolder } as const;
  try {
    await expect(openSession(g.build(), options)).rejects.toThrow(/open broken on cpu: /);
    expect(liveSessionLabels()).toEqual([]);
  } finally {
    rmSync(weightFolder, { recursive: true });
  }
}, 60_000);
