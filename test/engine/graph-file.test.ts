import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Tensor } from 'onnxruntime-node';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { GraphBuilder } from '../../src/engine/graph/builder.ts';
import { openSession } from '../../src/engine/runtime/session.ts';
import { float32Tensor } from '../../src/engine/runtime/tensors.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'floodgate-graph-'));
  writeFileSync(path.join(folder, 'weights.bin'), new Uint8Array(Float32Array.of(1, 2).buffer));
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true });
});

/** Runs x + w through a session whose graph is a file beside the weights. */
async function sumOnce(): Promise<number[]> {
  const g = new GraphBuilder();
  const x = g.input('x', 'float32', [2]);
  const w = g.externalWeight('w', [2], { location: 'weights.bin', offset: 0, byteLength: 8 });
  g.output('y', g.add(x, w));
  await using session = await openSession(g.build(), { label: 'sum', device: 'cpu', threads: 1, weightFolder: folder });
  const outputs = await session.run({ x: float32Tensor(Float32Array.of(10, 20), [2]) });
  const { data } = outputs.y as Tensor;
  return [...(data as Float32Array)];
}

const graphFiles = () => readdirSync(folder).filter((name) => name !== 'weights.bin');

test('a graph file is fsynced before it has its name, written once and taken again', async () => {
  const handle = await open(path.join(folder, 'weights.bin'));
  const sync = vi.spyOn(Object.getPrototypeOf(handle), 'sync');
  await handle.close();
  expect(await sumOnce()).toEqual([11, 22]);
  expect(sync).toHaveBeenCalledTimes(2); // the file, then its folder
  const [name] = graphFiles() as [string];
  const made = statSync(path.join(folder, name)).mtimeMs;
  expect(await sumOnce()).toEqual([11, 22]);
  expect(sync).toHaveBeenCalledTimes(2);
  expect(graphFiles()).toEqual([name]);
  expect(statSync(path.join(folder, name)).mtimeMs).toBe(made);
});

test.each([
  ['empty, as after a power cut', () => Buffer.alloc(0)],
  ['cut', (whole: Buffer) => whole.subarray(0, whole.length - 3)],
  ['changed in one byte', (whole: Buffer) => Buffer.from(whole.map((byte, i) => (i === 9 ? byte ^ 1 : byte)))],
])('a graph file that is %s is built again', async (_what, damage) => {
  await sumOnce();
  const [name] = graphFiles() as [string];
  const file = path.join(folder, name);
  const whole = readFileSync(file);
  writeFileSync(file, damage(whole));
  expect(await sumOnce()).toEqual([11, 22]);
  expect(readFileSync(file)).toEqual(whole);
  expect(graphFiles()).toEqual([name]);
});
