import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createLexiconJudge } from '../../../src/judges/lexicon-judge.ts';
import type { AttackRow } from '../../../src/runs/store/records.ts';
import { openStore, type RunStore } from '../../../src/runs/store/run-store.ts';
import { collectAttacks, loadCollection } from '../../../src/stages/collection.ts';
import { collectSection } from '../../../src/stages/smoothing.ts';
import type { Campaign } from '../../../src/stages/stage.ts';
import { createScriptedTarget } from '../../../src/targets/scripted-target.ts';
import { createTinyCampaign, type TinyCampaign } from '../tiny-campaign.ts';

let tiny: TinyCampaign;
let place: string;
let store: RunStore;

beforeEach(async () => {
  tiny = await createTinyCampaign();
  place = await mkdtemp(path.join(tmpdir(), 'floodgate-collection-'));
  store = await openStore(path.join(place, 'run.db'));
  store.beginStage('gflownet', 1);
  store.recordUpdate({ stage: 'gflownet', update: 0, attacks: [found('z', [0.9, 0.4]), found('quiet', [1, 0.001])] });
});
afterEach(async () => {
  store.close();
  await rm(place, { recursive: true, force: true });
  await tiny.remove();
});

function found(text: string, unsafe: readonly number[]): AttackRow {
  const responses = unsafe.map((p) => ({
    text: 'x',
    tokens: 1,
    truncated: false,
    verdicts: [
      { judge: 'alarms', masked: false, unsafe: p },
      { judge: 'alarms', masked: true, unsafe: 0 },
      { judge: 'bells', masked: false, unsafe: 0 },
    ],
  }));
  const ids = [...text].map((letter) => letter.charCodeAt(0));
  return { source: 'fresh', ids, text, logPi: -1, logPRef: -2, fluency: -2, logReward: -3, meanUnsafe: 0.5, responses };
}

/** As much of a campaign as a collection reads. */
function campaignWith(overrides: readonly string[]): Campaign {
  const config = tiny.config(['reward.unsafeFloor=0.02', ...overrides]);
  const rules = [{ terms: ['alarm'], hashedTerms: [], weight: 0.95 }];
  return {
    config,
    store,
    io: tiny.io(),
    folder: { checkpointsPath: place },
    trainingJudge: createLexiconJudge({ name: 'alarms', rules, combine: 'max' }),
    target: createScriptedTarget({
      rules: [{ contains: 'z', respond: ['alarm'] }],
      otherwise: ['no'],
      seed: 0,
    }),
  } as unknown as Campaign;
}

async function collected(rescore: boolean) {
  const campaign = campaignWith([]);
  const bounds = collectSection.of(campaign.config);
  const found = collectAttacks(campaign, 'gflownet', bounds);
  const { attacks, calls } = await loadCollection(campaign, { source: 'gflownet', found, bounds, rescore });
  return { scores: attacks.map(({ text, score }) => ({ text, ...score })), calls };
}

test('the score of a collected attack is the mean log P over its responses, not the log of their mean', async () => {
  const { scores } = await collected(false);
  expect(scores).toEqual([
    // (ln 0.9 + ln 0.4) / 2; the log of the mean would be ln 0.65 = -0.430783
    { text: 'z', meanUnsafe: 0.65, logS: expect.closeTo(-0.510826, 6), responses: 2 },
    // (ln 1 + ln 0.02) / 2: floored; the log of the mean would be ln 0.5005 = -0.692148
    { text: 'quiet', meanUnsafe: expect.closeTo(0.5005, 12), logS: expect.closeTo(-1.956012, 6), responses: 2 },
  ]);
});

test('scored again, old and new responses weigh alike, and what no longer passes is dropped', async () => {
  const { scores, calls } = await collected(true);
  expect(calls.targetCalls).toBe(4);
  expect(scores).toEqual([
    // (ln 0.9 + ln 0.4 + 2 ln 0.95) / 4
    { text: 'z', meanUnsafe: expect.closeTo(0.8, 12), logS: expect.closeTo(-0.28106, 5), responses: 4 },
  ]);
});

test('a kill between the collection and the end of its chunks leaves no chunks to the resume', async () => {
  const first = await collected(true);
  const chunks = path.join(place, 'collection.jsonl');
  await writeFile(chunks, '{"kept":[],"calls":{}}\n');
  expect(await collected(true)).toEqual(first);
  expect(existsSync(chunks)).toBe(false);
});
