import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ProgressSink } from '../../../src/base/progress.ts';
import { createAdamWState } from '../../../src/engine/optimizer/adamw.ts';
import { zeroParameters } from '../../../src/engine/optimizer/flat-parameters.ts';
import { loadLatestCheckpoint } from '../../../src/learning/checkpoints/checkpoint-folder.ts';
import { type LoopControl, runUpdates, type UpdateOutcome } from '../../../src/learning/loops/update-loop.ts';

let folder: string;
let lines: unknown[];
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'floodgate-loop-'));
  lines = [];
});
afterEach(() => rm(folder, { recursive: true }));

const progress: ProgressSink = {
  start: (label, total, unit) => {
    lines.push([label, total, unit]);
    return { update: (...shown) => lines.push(shown), finish: () => lines.push('finished') };
  },
};

const createVector = () => zeroParameters([{ name: 'w', shape: [2], init: 'zeros' }]);

/** A loop that adds 1 to its only tensor an update. `step` may do more. */
function createLoop(control: Partial<LoopControl>, step: (update: number) => UpdateOutcome = () => ({ note: '' })) {
  const parameters = createVector();
  const optimizer = createAdamWState(2);
  const done: number[] = [];
  const run = (from: number, to: number) =>
    runUpdates(
      { checkpoints: { folder, stage: 'learn' }, checkpointEveryUpdates: 3, progress, ...control },
      { parameters, optimizer, extra: () => ({ done: [...done] }) },
      { from, to },
      async (update) => {
        const outcome = step(update);
        done.push(update);
        parameters.data.fill((parameters.data[0] as number) + 1);
        return outcome;
      },
    );
  return { run, parameters, done };
}

const savedUpdates = async (): Promise<number[]> =>
  (await readdir(folder)).map((name) => Number(/^learn-(\d{7})\.safetensors$/.exec(name)?.[1])).sort((a, b) => a - b);

test('does its updates in order, saves every so many and at the end, and keeps the last two', async () => {
  const { run, done } = createLoop({}, (update) => ({ note: `update ${update}` }));
  expect(await run(0, 8)).toBe(8);
  expect(done).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  expect(await savedUpdates()).toEqual([6, 8]);
  expect(lines.slice(0, 4)).toEqual([['learn', 8, 'updates'], [0], [1, 'update 0'], [2, 'update 1']]);
  expect(lines.slice(-2)).toEqual([[8, 'update 7'], 'finished']);
  const found = await loadLatestCheckpoint({ folder, stage: 'learn' }, createVector());
  expect(found?.state).toMatchObject({ update: 8, extra: { done }, parameters: Float32Array.of(8, 8) });
});

test('goes on where it is told, and saves once where the last update is a round one', async () => {
  const { run, done } = createLoop({});
  expect(await run(4, 6)).toBe(6);
  expect(done).toEqual([4, 5]);
  expect(lines[1]).toEqual([4]);
  expect(await savedUpdates()).toEqual([6]);
});

test('with nothing left to do it saves what it was given', async () => {
  const { run, done } = createLoop({});
  expect(await run(5, 5)).toBe(5);
  expect(done).toEqual([]);
  expect(await savedUpdates()).toEqual([5]);
});

test('ends after the update that says so, and saves it', async () => {
  const { run, done } = createLoop({}, (update) => ({ note: '', stop: update === 3 }));
  expect(await run(0, 100)).toBe(4);
  expect(done).toEqual([0, 1, 2, 3]);
  expect(await savedUpdates()).toEqual([3, 4]);
});

test('stopped by its signal it saves the updates done, says so, and a second run ends as an uninterrupted one', async () => {
  const controller = new AbortController();
  const stopping = createLoop({ signal: controller.signal }, (update) => {
    if (update === 4) controller.abort();
    return { note: '' };
  });
  await expect(stopping.run(0, 9)).rejects.toMatchObject({
    code: 'interrupted',
    message: expect.stringContaining('learn: interrupted after 5 of 9 updates'),
    hint: expect.stringContaining('floodgate resume'),
  });
  expect(lines.at(-1)).toBe('finished');
  expect(await savedUpdates()).toEqual([3, 5]);

  const resumed = createLoop({});
  const found = await loadLatestCheckpoint({ folder, stage: 'learn' }, resumed.parameters);
  expect(found?.state.update).toBe(5);
  expect(found?.state.extra).toEqual({ done: [0, 1, 2, 3, 4] });
  expect([...resumed.parameters.data]).toEqual([5, 5]);
  expect(await resumed.run(5, 9)).toBe(9);
  expect([...resumed.parameters.data]).toEqual([9, 9]);
});

test('a signal that was aborted before it costs no update', async () => {
  const { run, done } = createLoop({ signal: AbortSignal.abort() });
  await expect(run(2, 9)).rejects.toMatchObject({ code: 'interrupted' });
  expect(done).toEqual([]);
  expect(await savedUpdates()).toEqual([2]);
});

test('an update that throws is not saved: the checkpoint before it is the last', async () => {
  const { run } = createLoop({}, (update) => {
    if (update === 5) throw new Error('the gradient is NaN');
    return { note: '' };
  });
  await expect(run(0, 9)).rejects.toThrow('the gradient is NaN');
  expect(lines.at(-1)).toBe('finished');
  expect(await savedUpdates()).toEqual([3]);
});
