import { afterAll, beforeAll, expect, test } from 'vitest';
import { FloodgateError } from '../../src/base/errors.ts';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { resumeCampaign, runCampaign } from '../../src/report/campaigns.ts';
import { openRunFolder } from '../../src/runs/run-folder.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { defineTarget } from '../../src/targets/registry.ts';
import { createScriptedTarget } from '../../src/targets/scripted-target.ts';
import { NO_MODEL_FACTS } from '../../src/targets/target-kind.ts';
import { contentDifferences, readRunContent } from './run-content.ts';
import { createTinyCampaign, type TinyCampaign } from './tiny-campaign.ts';

let tiny: TinyCampaign;
beforeAll(async () => {
  tiny = await createTinyCampaign();
});
afterAll(async () => {
  await tiny.remove();
  expect(liveSessionLabels()).toEqual([]);
});

let stop = new AbortController();
/** Names of random streams: Ctrl-C comes while the target is asked for the first of them. */
let stopAt: readonly string[] = [];
/** Responses that were asked for when Ctrl-C came: their server may have answered, so a resume may pay them twice. */
let brokenOff = 0;

/** A slow target: Ctrl-C comes while it is asked, and it answers an abort at once, as targets do. */
defineTarget({
  name: 'slow-script',
  describe: 'for this test',
  fields: {},
  async plan({ kind }, { seed }) {
    const rules = [{ contains: 'z', respond: ['alarm bell'] }];
    const scripted = createScriptedTarget({ rules, otherwise: ['fine thanks', 'not today'], seed });
    const facts = { ...NO_MODEL_FACTS, kind, model: 'script' };
    const target: typeof scripted = {
      ...scripted,
      ask: async (requests, options) => {
        if (requests.some(({ streamName }) => stopAt.includes(streamName.join(' ')))) {
          stopAt = [];
          brokenOff = requests.length * options.responses;
          stop.abort();
          if (options.signal === undefined) throw new Error('the target was asked without a signal');
          throw new FloodgateError('interrupted', 'slow-script: interrupted');
        }
        return scripted.ask(requests, options);
      },
    };
    return { facts, open: async () => ({ target, facts, checkpoint: undefined, close: () => target.close() }) };
  },
});

const COMMON = [
  'target={kind: slow-script, responses: 2}',
  'sft.updates=2',
  'sft.warmupUpdates=0',
  'watch={everyUpdates: 3, attacks: 8, earlyStop: {enabled: true, patience: 100}}',
  'evaluation={attacks: 4, responses: 1, controls: 0, causes: {clusters: 0}}',
];
const STAGES = {
  gflownet: [
    'gflownet.updates=6',
    'gflownet.pipeline.depth=0',
    'gflownet.replay.rescore=true',
    'gflownet.checkpointEveryUpdates=1',
  ],
  ppo: [
    'ppo.updates=6',
    'ppo.batchSize=8',
    'ppo.minibatchSize=8',
    'ppo.microBatchSize=8',
    'ppo.checkpointEveryUpdates=1',
    'ppo.warmupUpdates=0',
  ],
} as const;

const start = (stage: keyof typeof STAGES, name: string) => {
  const config = tiny.config([...COMMON, ...STAGES[stage], `attackers=[${stage}]`]);
  return runCampaign({ config, runsFolder: tiny.runsFolder, name, ifTaken: 'refuse' }, tiny.io(stop.signal));
};

/** The uninterrupted run of a stage, made once. */
const wholes = new Map<string, ReturnType<typeof start>>();
function wholeRun(stage: keyof typeof STAGES): ReturnType<typeof start> {
  const whole = wholes.get(stage) ?? start(stage, `whole-${stage}`);
  wholes.set(stage, whole);
  return whole;
}

test.each([
  ['gflownet', 'an update', 'response 3 0', 'interrupted after 3 of 6 updates; the one in progress is made again'],
  ['gflownet', 'replay that is scored again', 'rescore 3 0', 'interrupted after 3 of 6'],
  ['gflownet', 'held-out attacks', 'held out 2 0', 'interrupted after 3 of 6'],
  ['gflownet', 'the last held-out attacks', 'held out 5 0', 'interrupted after its last update'],
  ['ppo', 'an update', 'ppo response 3 0', 'interrupted after 3 of 6'],
] as const)(
  '%s: Ctrl-C is heard while the target is asked for %s; resumed, the run is the same',
  async (stage, what, at, message) => {
    stop = new AbortController();
    const name = `${stage} ${what}`.replaceAll(' ', '-');
    const { folder: whole } = await wholeRun(stage);
    stopAt = [at];
    await expect(start(stage, name)).rejects.toMatchObject({
      code: 'interrupted',
      message: expect.stringContaining(message),
    });
    expect(stopAt, 'Ctrl-C came').toEqual([]);
    const folder = await openRunFolder(name, tiny.runsFolder);
    stop = new AbortController();
    await resumeCampaign(folder, tiny.io());
    const store = await openStore(folder.databasePath, { readOnly: true });
    const repeated = store.repeatedCalls();
    const stored = repeated.map(({ attacks, responses, verdicts }) => attacks + responses + verdicts);
    expect(stored, 'nothing was stored twice').toEqual([0]);
    expect(repeated[0]?.targetCalls, 'the calls under way were asked again').toBe(brokenOff);
    store.close();
    expect(contentDifferences(readRunContent(whole.path), readRunContent(folder.path))).toEqual([]);
  },
  180_000,
);
