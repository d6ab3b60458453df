import { readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { type RedisServer, startRedis } from '../../lab/queue/redis-server.ts';
import { startWorker, type WorkerProcess } from '../../lab/queue/worker-process.ts';
import type { ProgressSink } from '../../src/base/progress.ts';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { readManifest } from '../../src/runs/manifest.ts';
import { openRunFolder } from '../../src/runs/run-folder.ts';
import { startRun } from '../../src/stages/campaign/run-campaign.ts';
import { runRobustness } from '../../src/studies/robustness/run-robustness.ts';
import { runRounds } from '../../src/studies/rounds/run-rounds.ts';
import { readTables } from '../stages/run-content.ts';
import { placeOfTiny } from '../stages/tiny-campaign.ts';
import { createTinyTarget, type TinyTarget } from '../studies/robustness/tiny-target.ts';
import { builtProgram } from '../support/compiled-source.ts';

let tiny: TinyTarget;
let redis: RedisServer;
let worker: WorkerProcess;

beforeAll(async () => {
  tiny = await createTinyTarget();
  redis = await startRedis();
}, 120_000);
/** With a cache of its own, as on another machine. The models that the config names are at the same place there. */
async function startRunWorker(args: readonly string[] = []): Promise<void> {
  const place = { ...placeOfTiny(tiny, builtProgram()), cacheFolder: path.join(tiny.folder, 'cache of the worker') };
  worker = startWorker(place, ['--queue', redis.url, ...args]);
  await worker.printed(/takes jobs/);
}
afterEach(async () => {
  worker?.kill('SIGKILL');
  await worker?.ended;
});
afterAll(async () => {
  await redis?.remove();
  await tiny?.remove();
  expect(liveSessionLabels()).toEqual([]);
});

/** Ends the worker. Returns its last line. */
async function countsOf(): Promise<string> {
  worker.kill('SIGINT');
  await worker.ended;
  return worker.output().split('\n').at(-2) ?? '';
}

const onWorkers = () => [`queue.url=${redis.url}`, 'queue.runs=true'];
const tablesOf = (folder: string) => readTables(path.join(folder, 'run.db'));
const targetOf = async (folder: string) => {
  const { models } = await readManifest(path.join(folder, 'manifest.json'));
  return models.find(({ role }) => role === 'target');
};

/** The config and the manifest, without what tells the two studies apart: paths, clocks and the queue. */
async function keptOf(folder: string) {
  const { queue: _queue, ...config } = parse(readFileSync(path.join(folder, 'config.yaml'), 'utf8')) as {
    readonly queue?: unknown;
  };
  const manifest = await readManifest(path.join(folder, 'manifest.json'));
  const models = manifest.models.map(({ role, sha256, filesSha256 }) => [role, sha256, filesSha256]);
  return { config, manifest: { ...manifest, models, createdAt: '', configSha256: '' } };
}

describe('runs whose target a study has tuned', { timeout: 300_000 }, () => {
  it('the cells of a robustness matrix are those of one process', async () => {
    await startRunWorker();
    const runOf = async (name: string) => {
      const config = tiny.targetConfig(['attackers=[sft, ppo]', 'ppo.updates=6', 'ppo.learningRate=0.05']);
      return startRun({ config, runsFolder: tiny.runsFolder, name, ifTaken: 'refuse' }, tiny.io());
    };
    const here = await runRobustness(await runOf('here'), { overrides: [] }, tiny.io());
    const there = await runRobustness(await runOf('there'), { overrides: onWorkers() }, tiny.io());
    expect(await countsOf()).toMatch(/[1-9]\d* verdicts, 2 whole runs/);
    expect(there.cells).toEqual(here.cells);
    expect(there.cells.filter(({ how }) => how === 'retrained')).toHaveLength(3);
    for (const data of ['sft', 'ppo']) {
      const cellOf = (run: string): string => path.join(tiny.runsFolder, run, 'robustness', data, 'ppo');
      expect(tablesOf(cellOf('there'))).toEqual(tablesOf(cellOf('here')));
      expect(await keptOf(cellOf('there'))).toEqual(await keptOf(cellOf('here')));
      const tuned = path.join(tiny.runsFolder, 'there', 'tuned', `robustness-${data}`, 'model');
      expect((await targetOf(cellOf('there')))?.spec).toBe(tuned);
    }
  });

  it('a matrix stops before any work without a worker that takes runs', async () => {
    await startRunWorker(['--take', 'asks']);
    const config = tiny.targetConfig(['attackers=[sft, ppo]']);
    const run = await startRun({ config, runsFolder: tiny.runsFolder, name: 'early', ifTaken: 'refuse' }, tiny.io());
    const started: string[] = [];
    const progress: ProgressSink = {
      start: (label) => {
        started.push(label);
        return { update: () => undefined, finish: () => undefined };
      },
    };
    const overrides = [...onWorkers(), 'queue.waitSeconds=1'];
    const study = runRobustness(run, { overrides }, { ...tiny.io(), progress });
    await expect(study).rejects.toThrow(/no worker took a job within 1 s/);
    expect(started).toEqual([]);
  });

  it('a matrix whose attackers cannot be retrained stops with the message of the worker, and resumes', async () => {
    await startRunWorker();
    const blocked = path.join(tiny.folder, 'cache of the worker', 'whole-runs');
    await rm(blocked, { recursive: true, force: true });
    await writeFile(blocked, ''); // a file where the worker makes folders
    const run = await openRunFolder('early', tiny.runsFolder);
    await expect(runRobustness(run, { overrides: onWorkers() }, tiny.io())).rejects.toThrow(/^worker .*whole-runs/);
    await rm(blocked);
    expect((await runRobustness(run, { overrides: onWorkers() }, tiny.io())).status).toBe('done');
  });

  it('rounds are those of one process', async () => {
    await startRunWorker();
    const planOf = (name: string, overrides: readonly string[] = []) => ({
      config: tiny.targetConfig(['evaluation.attacks=16', ...overrides]),
      attacker: 'ppo',
      rounds: 2,
      folder: path.join(tiny.runsFolder, name),
    });
    const here = await runRounds(planOf('rounds-here'), tiny.io());
    const there = await runRounds(planOf('rounds-there', onWorkers()), tiny.io());
    expect(await countsOf()).toMatch(/[1-9]\d* verdicts, 2 whole runs/);
    expect(there.rounds).toEqual(here.rounds);
    expect(there.cells).toEqual(here.cells);
    // The target of the second round is what the first has tuned, wherever it was attacked.
    const [one, two] = await Promise.all(
      ['rounds-here', 'rounds-there'].map((name) => targetOf(path.join(tiny.runsFolder, name, 'round-2'))),
    );
    expect(two?.sha256).toBe(one?.sha256);
    expect(two?.spec).toBe(path.join(tiny.runsFolder, 'rounds-there', 'round-1', 'tuned', 'tuned', 'model'));
  });
});
