import { afterAll, beforeAll, expect, test } from 'vitest';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { MeaningCoverage } from '../../src/learning/proposals/meaning-coverage.ts';
import { WordCoverage } from '../../src/learning/proposals/word-coverage.ts';
import { createOpenModels } from '../../src/models/open-models.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { planRun } from '../../src/stages/campaign/plan-run.ts';
import { embedEach } from '../../src/stages/embed-each.ts';
import { createStoppedCampaign, type StoppedCampaign } from './stopped-campaign.ts';

/** Responses that held-out attacks were asked for. */
const heldOut = new Set<number>();

const OVERRIDES = [
  'attackers=[smoothing]',
  'sft.updates=2',
  'sft.warmupUpdates=0',
  'gflownet.updates=8',
  'gflownet.warmupUpdates=0',
  'gflownet.checkpointEveryUpdates=3',
  'gflownet.updatesPerBatch=2',
  'gflownet.responses={first: 1, most: 4}',
  'gflownet.replay={seedWithReference: 130, seedCandidates: 3, draw: mixed, rescore: true}',
  'gflownet.vargrad.huber=5',
  'watch={everyUpdates: 4, attacks: 8}',
  'collect.minUnsafe=0.4',
  'smoothing={updates: 2, rescore: false, warmupUpdates: 0}',
  'evaluation={attacks: 4, responses: 1, controls: 0, causes: {clusters: 0}}',
];

let campaign: StoppedCampaign;
beforeAll(async () => {
  campaign = await createStoppedCampaign({
    unsafeLetters: ['a', 'e', 'o'],
    overrides: OVERRIDES,
    onAsk: (requests, { responses }) => {
      if (requests.some(({ streamName }) => streamName[0] === 'held out')) heldOut.add(responses);
    },
  });
});
afterAll(async () => {
  await campaign.tiny.remove();
  expect(liveSessionLabels()).toEqual([]);
});

test('an attack whose first response succeeds draws four, another one; held-out ones draw those of the target', async () => {
  const { folder } = await campaign.wholeRun();
  const store = await openStore(folder.databasePath, { readOnly: true });
  const attacks = store.attacks({ stage: 'gflownet', fromUpdate: -1, toUpdate: 8 });
  const answers = new Map<string, Set<number>>();
  let calls = 0;
  expect(heldOut).toEqual(new Set([2]));
  for (const { id, source } of attacks) {
    const responses = store.responses(id);
    calls += responses.length;
    if (responses.length === 0) continue; // replayed without being asked again
    const isFirstUnsafe = responses[0]?.text === 'alarm bell';
    expect(responses, source).toHaveLength(isFirstUnsafe ? 4 : 1);
    const counts = answers.get(source) ?? new Set();
    answers.set(source, counts.add(responses.length));
  }
  const { targetCalls } = store.cost('gflownet');
  store.close();
  for (const source of ['seed', 'reference', 'fresh', 'replay']) expect(answers.get(source), source).toContain(4);
  expect(targetCalls).toBeGreaterThanOrEqual(calls);
  const planned = (await planRun(campaign.config(), campaign.tiny.io())).stages.find(({ name }) => name === 'gflownet');
  expect(targetCalls).toBeLessThanOrEqual(planned?.targetCalls as number);
});

test('of three candidates for each attack of the reference those that cover most are tried', async () => {
  const { folder } = await campaign.wholeRun();
  const short = ['gflownet.updates=1', 'attackers=[gflownet]'];
  const all = ['gflownet.replay.seedCandidates=1', 'gflownet.replay.seedWithReference=390'];
  const { folder: uncovered } = await campaign.start('all-candidates', [...all, ...short]);
  const { folder: byWords } = await campaign.start('by-words', ['gflownet.replay.seedCoverage=words', ...short]);
  const triedIn = async (databasePath: string) => {
    const store = await openStore(databasePath, { readOnly: true });
    const attacks = store.attacks({ stage: 'gflownet', fromUpdate: -1, toUpdate: -1, source: 'reference' });
    store.close();
    return attacks.map(({ text }) => ({ text }));
  };
  const candidates = await triedIn(uncovered.databasePath);
  expect(candidates).toHaveLength(390);
  const first = (coverage: { take(): { readonly text: string } | undefined }) =>
    Array.from({ length: 130 }, () => coverage.take());
  const ofWords = first(new WordCoverage(candidates));
  const meaning = new MeaningCoverage<(typeof candidates)[number]>(candidates.length);
  const { encoder } = await createOpenModels({ threads: 1 }).openEncoder(`${campaign.tiny.folder}/encoder`, 'cpu');
  const embeddings = await embedEach(encoder)(candidates.map(({ text }) => text));
  await encoder.close();
  for (const [i, candidate] of candidates.entries()) meaning.add(candidate, embeddings[i] as Float32Array);
  const ofMeaning = first(meaning);
  expect(ofMeaning).not.toEqual(ofWords);
  expect(await triedIn(folder.databasePath)).toEqual(ofMeaning);
  expect(await triedIn(byWords.databasePath)).toEqual(ofWords);
});

test.each([
  ['between the first and the further responses of the seeds', /^seed 1\d\d again$/, 0],
  ['between the first and the further responses of an update', /^response 4 \d+ again$/, 0],
  ['while replay is scored again', /^rescore 5 \d+ again$/, 0],
  ['while replay is scored again and a batch is under way', /^rescore 5 \d+ again$/, 1],
  ['while a batch is asked ahead', /^response 4 \d+ again$/, 1],
  ['while the last batch is asked ahead', /^response 6 \d+$/, 1],
])('Ctrl-C %s: resumed, the run is the same byte for byte', async (what, at, depth) => {
  const differences = await campaign.differencesOfResumed(what.replaceAll(' ', '-'), at, depth);
  // Ctrl-C in update 7 leaves a checkpoint there, which takes the place of that of update 6.
  expect(differences.filter((each) => !/^checkpoint gflownet-000000[67]/.test(each))).toEqual([]);
});

test('a batch asked ahead teaches a later update; equal calls, other attacks', async () => {
  const [{ folder: atOnce }, { folder: ahead }] = await Promise.all([campaign.wholeRun(0), campaign.wholeRun(1)]);
  const freshOf = async (databasePath: string) => {
    const store = await openStore(databasePath, { readOnly: true });
    const updates = Array.from({ length: 8 }, (_, update) =>
      store.attacks({ stage: 'gflownet', fromUpdate: update, toUpdate: update, source: 'fresh' }),
    );
    store.close();
    return updates.map((attacks) => attacks.length > 0);
  };
  expect(await freshOf(atOnce.databasePath)).toEqual([true, false, true, false, true, false, true, false]);
  expect(await freshOf(ahead.databasePath)).toEqual([false, false, true, false, true, false, true, true]);
});
