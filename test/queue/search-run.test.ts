import { statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RedisServer, startRedis } from '../../lab/queue/redis-server.ts';
import { startWorker, type WorkerProcess } from '../../lab/queue/worker-process.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { type CampaignPlace, startRunProcess } from '../stages/campaign-process.ts';
import { createTinyCampaign, placeOfTiny, type TinyCampaign } from '../stages/tiny-campaign.ts';
import { createWholeRun } from '../stages/whole-run.ts';
import { builtProgram } from '../support/compiled-source.ts';
import { searchDifferences } from './search-differences.ts';

let tiny: TinyCampaign;
let redis: RedisServer;
let workers: WorkerProcess[];

/** Its answers depend on the attack and on the random stream of each. Each call leaves a byte in `CALLS`. */
const TARGET = `
import { appendFileSync } from 'node:fs';
export default async ({ attack, seed }) => {
  if (!/Say hello|Monday|rainbow/.test(attack)) appendFileSync(process.env.CALLS, '.');
  return attack.includes('z') && seed % 4 !== 0 ? 'alarm bell' : 'fine thanks, not today';
};
`;

const UPDATES = 14;

const SHORT = [
  'target={kind: module, file: ./seeded.mjs, responses: 2, concurrency: 64}',
  'attackers=[sft,gflownet]',
  `gflownet.updates=${UPDATES}`,
  'watch.everyUpdates=8',
  'evaluation={attacks: 16, responses: 1, controls: 0, causes: {clusters: 0}}',
];

/** Everything that a search may carry: rewrites, a screen, a capped fluency and few first responses. */
const RICH = [
  'gflownet.sampling={freshShare: 0.75, temperedShare: 0.25, rewriteShare: 0.25}',
  'gflownet.screen={candidates: 3, minCorrelation: -1}',
  'gflownet.responses={first: 1, most: 3}',
  'gflownet.replay={nearDuplicate: {kind: cosine}}',
  'reward.fluency={form: capped}',
];

const CELLS = ['attacker.cells=[{ name: cats, text: a cat }, { name: dogs }]', 'attacker.metaPrompt=say {cell} now'];

beforeAll(async () => {
  tiny = await createTinyCampaign();
  redis = await startRedis();
  const file = path.join(tiny.folder, 'seeded.mjs');
  writeFileSync(file, TARGET);
  process.env.CALLS = path.join(tiny.folder, 'calls');
  writeFileSync(process.env.CALLS, '');
  const place = placeOfTiny(tiny, builtProgram());
  workers = [1, 2].map(() => startWorker(place, ['--queue', redis.url, '--allow-local-code', file]));
  await Promise.all(workers.map((worker) => worker.printed(/takes jobs/)));
});
afterAll(async () => {
  for (const worker of workers ?? []) worker.kill('SIGKILL');
  await Promise.all((workers ?? []).map(({ ended }) => ended));
  await redis?.remove();
  await tiny?.remove();
});

const placeOf = (overrides: readonly string[]): CampaignPlace => {
  const place = placeOfTiny(tiny, builtProgram());
  return { ...place, overrides: [...place.overrides, ...SHORT, ...overrides] };
};

const callsSoFar = (): number => statSync(process.env.CALLS as string).size;

describe('a run whose workers search', { timeout: 300_000 }, () => {
  it.each([
    ['in parts', 2, ['gflownet.batchSize=144'], ['fresh', 'tempered', 'replay']],
    [
      'with a budget, whose calls the learner admits',
      1,
      ['budget.targetCalls=100000'],
      ['fresh', 'tempered', 'replay'],
    ],
    ['rich', 3, RICH, ['fresh', 'tempered', 'screened', 'rewritten', 'replay']],
    ['of cells', 4, [...RICH, ...CELLS], ['fresh', 'tempered', 'screened', 'rewritten', 'replay']],
  ] as const)(
    'is the run of one process that asks as far ahead, bit for bit: %s',
    async (_name, depth, overrides, sources) => {
      const ahead = [...overrides, `gflownet.pipeline.depth=${depth}`];
      const none = callsSoFar();
      const runsFolder = path.join(tiny.folder, `depth-${depth}`);
      const expected = await createWholeRun({ ...placeOf(ahead), runsFolder });
      const calls = callsSoFar() - none;
      const place = placeOf([...ahead, 'gflownet.pipeline.searches=workers', `queue.url=${redis.url}`]);
      const run = startRunProcess({ ...place, runsFolder }, 'searched');
      const { code, stderr } = await run.outcome;
      expect(code, stderr).toBe(0);
      expect(searchDifferences(expected, 'searched')).toEqual([]);
      expect(callsSoFar() - none - calls).toBe(calls);
      const store = await openStore(path.join(expected.pathOf('searched'), 'run.db'), { readOnly: true });
      const attacks = store.attacks({ stage: 'gflownet', fromUpdate: 0, toUpdate: UPDATES });
      const lags = store.metrics('gflownet', 'searchLag').map(({ value }) => value as number);
      store.close();
      expect(new Set(attacks.map(({ source }) => source))).toEqual(new Set(sources));
      expect(lags).toEqual(Array(UPDATES - depth).fill(depth));
    },
  );

  it('leaves the work to workers', async () => {
    for (const worker of workers) worker.kill('SIGINT');
    await Promise.all(workers.map(({ ended }) => ended));
    const drawn = workers.map((worker) => Number(/(\d+) attacks drawn/.exec(worker.output())?.[1]));
    expect(drawn.reduce((a, b) => a + b, 0)).toBeGreaterThan(UPDATES * 8);
  });
});
