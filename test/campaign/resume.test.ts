import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { openStore } from '../../src/store/run-store.ts';
import { type CompiledSource, compileSource } from '../support/compiled-source.ts';
import { createTinyCampaign, type TinyCampaign } from './tiny-campaign.ts';

let compiled: CompiledSource;
let tiny: TinyCampaign;

beforeAll(async () => {
  compiled = compileSource();
  tiny = await createTinyCampaign();
});
afterAll(async () => {
  compiled.remove();
  await tiny.remove();
});

function floodgate(...args: string[]): ChildProcess {
  const main = path.join(compiled.folder, 'cli', 'main.js');
  const cache = path.join(tiny.folder, 'cache');
  const all = [main, ...args, '--runs-dir', tiny.runsFolder, '--cache-dir', cache];
  return spawn(process.execPath, all, { cwd: tiny.folder, stdio: ['ignore', 'ignore', 'pipe'] });
}

const start = (name: string): ChildProcess =>
  floodgate('run', 'tiny.yaml', '--name', name, '--set', 'smoothing.rescore=true');

async function finished(child: ChildProcess): Promise<{ code: number | null; signal: string | null; stderr: string }> {
  let stderr = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  return { code, signal, stderr };
}

/** Waits until the run's GFlowNet stage has written a checkpoint: the middle of a run, whatever the machine's speed. */
async function reachedGflownet(name: string): Promise<void> {
  const folder = path.join(tiny.runsFolder, name, 'checkpoints');
  for (;;) {
    if (existsSync(folder) && readdirSync(folder).some((file) => file.startsWith('gflownet-00'))) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Bytes of every checkpoint file, by name. */
function checkpoints(name: string): Map<string, string> {
  const folder = path.join(tiny.runsFolder, name, 'checkpoints');
  return new Map(
    readdirSync(folder)
      .sort()
      .map((file) => [file, readFileSync(path.join(folder, file)).toString('base64')]),
  );
}

/** Every row that is not a clock: attacks, responses, verdicts, metrics, calls. */
async function rows(name: string): Promise<Record<string, unknown>> {
  const store = await openStore(path.join(tiny.runsFolder, name, 'run.db'), { readOnly: true });
  try {
    const parts = store.stages().flatMap((stage) => {
      const { seconds: _clock, ...cost } = store.cost(stage.name);
      const attacks = store.attacks({ stage: stage.name }).map(({ id, ...attack }) => ({
        ...attack,
        responses: store.responses(id).map(({ id: _id, ...response }) => response),
      }));
      return Object.entries({ status: stage.status, attacks, metrics: store.metrics(stage.name), cost }).map(
        ([part, value]) => [`${stage.name} ${part}`, value] as const,
      );
    });
    return Object.fromEntries(parts);
  } finally {
    store.close();
  }
}

describe('a killed run', () => {
  let whole: { checkpoints: Map<string, string>; rows: Awaited<ReturnType<typeof rows>>; ms: number };

  beforeAll(async () => {
    const began = performance.now();
    const { code, stderr } = await finished(start('whole'));
    expect(stderr).not.toMatch(/error:/);
    expect(code).toBe(0);
    whole = { checkpoints: checkpoints('whole'), rows: await rows('whole'), ms: performance.now() - began };
  });

  async function expectSameRows(name: string): Promise<void> {
    const found = await rows(name);
    expect(Object.keys(found)).toEqual(Object.keys(whole.rows));
    for (const [part, expected] of Object.entries(whole.rows)) expect(found[part], part).toEqual(expected);
  }

  test.each([0, 1, 2, 3])(
    'kill -9 at random points, case %i: resumed, it equals the uninterrupted run byte for byte',
    async (seed) => {
      const stream = randomStream(seed, 'kill');
      const name = `killed-${seed}`;
      let child = start(name);
      for (let kills = 0; kills < 4; kills++) {
        const done = finished(child);
        const delayMs = (0.15 + 0.8 * stream.nextFloat()) * whole.ms * (kills === 0 ? 1 : 0.6);
        const outcome = await Promise.race([
          done,
          new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), delayMs)),
        ]);
        if (outcome !== undefined) break;
        child.kill('SIGKILL');
        expect((await done).signal).toBe('SIGKILL');
        child = floodgate('resume', name);
      }
      if (child.exitCode === null) await finished(child);
      const last = await finished(floodgate('resume', name)); // a finished run resumes to itself
      expect(last.code, last.stderr).toBe(0);
      expect(checkpoints(name)).toEqual(whole.checkpoints);
      await expectSameRows(name);
    },
  );

  test('Ctrl-C saves, says how to go on and exits with 130; resumed, it equals the uninterrupted run', async () => {
    const child = start('stopped');
    const done = finished(child);
    await reachedGflownet('stopped');
    child.kill('SIGINT');
    const { code, stderr } = await done;
    expect(code).toBe(130);
    expect(stderr).toMatch(/floodgate resume/);
    const resumed = await finished(floodgate('resume', 'stopped'));
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(checkpoints('stopped')).toEqual(whole.checkpoints);
    await expectSameRows('stopped');
  });

  test('a run in use by another process is refused', async () => {
    const child = start('shared');
    const done = finished(child);
    await reachedGflownet('shared');
    child.kill('SIGSTOP'); // it holds the run as long as we look
    const second = await finished(floodgate('resume', 'shared'));
    expect(second.code).toBe(1);
    expect(second.stderr).toMatch(/in use/);
    child.kill('SIGKILL');
    await done;
  });
});
