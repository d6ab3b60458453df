import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Graph, GraphBuilder } from '../../src/engine/graph/builder.ts';
import { writeOnnx } from '../../src/engine/onnx/onnx-writer.ts';
import { openSession, openSessionFile } from '../../src/engine/runtime/session.ts';
import { openSessionCount } from '../../src/engine/runtime/session-pool.ts';
import { float32Data, float32Tensor } from '../../src/engine/runtime/tensors.ts';

const cpu = { device: 'cpu', threads: 1 } as const;
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'floodgate-pool-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** y = x + `addend`, or x + the two numbers of `weights.bin`. */
function plus(addend?: number): Graph {
  const g = new GraphBuilder();
  const x = g.input('x', 'float32', [2]);
  const other =
    addend === undefined
      ? g.externalWeight('w', [2], { location: 'weights.bin', offset: 0, byteLength: 8 })
      : g.constant('float32', [2], Float32Array.of(addend, addend));
  g.output('y', g.add(x, other));
  return g.build();
}

const weigh = (...values: number[]) =>
  writeFile(join(folder, 'new.bin'), new Uint8Array(Float32Array.from(values).buffer));

async function run(session: Awaited<ReturnType<typeof openSession>>): Promise<number[]> {
  const { y } = await session.run({ x: float32Tensor(Float32Array.of(1, 2), [2]) });
  return [...float32Data(y)];
}

describe('sessions of one graph', () => {
  test('are one in the runtime, which lives as long as its last holder', async () => {
    const before = openSessionCount();
    const [a, b] = await Promise.all([
      openSession(plus(1), { ...cpu, label: 'a' }),
      openSession(plus(1), { ...cpu, label: 'b' }),
    ]);
    expect(openSessionCount()).toBe(before + 1);
    await a.close();
    await a.close();
    expect(openSessionCount()).toBe(before + 1);
    expect(await run(b)).toEqual([2, 3]);
    await b.close();
    expect(openSessionCount()).toBe(before);
  });

  test('another graph, other threads, other packing or a thread of its own is another session', async () => {
    const before = openSessionCount();
    const opened = await Promise.all([
      openSession(plus(1), { ...cpu, label: 'a' }),
      openSession(plus(2), { ...cpu, label: 'b' }),
      openSession(plus(1), { ...cpu, threads: 2, label: 'c' }),
      openSession(plus(1), { ...cpu, prepack: false, label: 'd' }),
      openSession(plus(1), { ...cpu, ownThread: true, label: 'e' }),
    ]);
    expect(openSessionCount()).toBe(before + 5);
    expect(await Promise.all(opened.map(run))).toEqual([
      [2, 3],
      [3, 4],
      [2, 3],
      [2, 3],
      [2, 3],
    ]);
    await Promise.all(opened.map((session) => session.close()));
    expect(openSessionCount()).toBe(before);
  });

  test('a weight file that was replaced under its name is another model', async () => {
    const replace = async (...values: number[]) => {
      await weigh(...values);
      await rename(join(folder, 'new.bin'), join(folder, 'weights.bin'));
    };
    await replace(10, 20);
    const old = await openSession(plus(), { ...cpu, label: 'old', weightFolder: folder });
    await replace(30, 40);
    const fresh = await openSession(plus(), { ...cpu, label: 'new', weightFolder: folder });
    expect([await run(old), await run(fresh)]).toEqual([
      [11, 22],
      [31, 42],
    ]);
    await Promise.all([old.close(), fresh.close()]);
  });

  test('a model that cannot be opened is tried again by the next caller', async () => {
    const before = openSessionCount();
    const file = join(folder, 'model.onnx');
    await writeFile(file, 'no model');
    await expect(openSessionFile(file, { ...cpu, label: 'damaged' })).rejects.toThrow(/damaged/);
    expect(openSessionCount()).toBe(before);
    await writeFile(file, writeOnnx(plus(3)));
    const session = await openSessionFile(file, { ...cpu, label: 'whole' });
    expect(await run(session)).toEqual([4, 5]);
    await session.close();
    expect(openSessionCount()).toBe(before);
  });
});
