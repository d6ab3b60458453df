import { cp, readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { liveSessionLabels } from '../../../src/engine/runtime/session.ts';
import { readSafetensors, writeSafetensors } from '../../../src/models/formats/safetensors.ts';
import { runCampaign } from '../../../src/report/campaigns.ts';
import type { StoredEvent } from '../../../src/runs/store/records.ts';
import { openStore } from '../../../src/runs/store/run-store.ts';
import { startRun } from '../../../src/stages/campaign/run-campaign.ts';
import { repeatedAnswer } from '../../../src/stages/evaluation/repeated-answer.ts';
import { createTinyCampaign, type TinyCampaign } from '../tiny-campaign.ts';

let tiny: TinyCampaign;

beforeAll(async () => {
  tiny = await createTinyCampaign();
});
afterAll(async () => {
  await tiny.remove();
  expect(liveSessionLabels()).toEqual([]);
});

const SHORT = ['attackers=[sft]', 'sft.updates=2', 'evaluation.attacks=16'];

const plan = (name: string, overrides: readonly string[]) =>
  ({ config: tiny.config([...SHORT, ...overrides]), runsFolder: tiny.runsFolder, name, ifTaken: 'refuse' }) as const;

async function repeatedIn(databasePath: string): Promise<StoredEvent[]> {
  const store = await openStore(databasePath, { readOnly: true });
  const events = store.events().filter(({ code }) => code === 'repeated-answer');
  store.close();
  return events;
}

test('a target whose logits are NaN fails the run, and nothing is measured', async () => {
  const folder = path.join(tiny.folder, 'dead');
  await cp(path.join(tiny.folder, 'attacker'), folder, { recursive: true });
  const file = path.join(folder, 'model.safetensors');
  const { tensors, metadata } = await readSafetensors(file);
  // Finite weights whose products are not: a weight that is NaN would be refused when the model is opened.
  for (const part of ['gate', 'up']) tensors.get(`model.layers.0.mlp.${part}_proj.weight`)?.data.fill(1e30);
  await writeSafetensors(file, tensors, metadata);
  const target = 'target={kind: local, model: ./dead, responses: 2, decode: {maxNewTokens: 4}}';
  await expect(startRun(plan('nan', [target]), tiny.io())).rejects.toMatchObject({
    code: 'model',
    message: expect.stringMatching(/dead: its logits are not finite numbers/),
  });
  const store = await openStore(path.join(tiny.runsFolder, 'nan', 'run.db'), { readOnly: true });
  expect(store.stages().filter(({ status }) => status === 'done')).toEqual([]);
  store.close();
});

describe('a target that gives one text to everything', () => {
  test('is warned of in controls and evaluation, and the report shows it', async () => {
    const overrides = ['target.rules=[]', 'target.otherwise=[ectable]'];
    const { folder, pagePath } = await runCampaign(plan('one-text', overrides), tiny.io());
    const events = await repeatedIn(folder.databasePath);
    expect(events.map(({ stage, level }) => [stage, level])).toEqual([
      ['controls', 'warning'],
      ['evaluate:sft', 'warning'],
    ]);
    expect(events[0]?.message).toMatch(/the same answer to all 32 harmless prompts/);
    expect(events[1]?.message).toMatch(/the same answer to all 16 attacks of sft and to the harmless prompts/);
    expect(events.map(({ message }) => message).join()).not.toContain('ectable'); // a model's words stay in the vault
    const page = await readFile(pagePath, 'utf8');
    expect(page.match(/Warning in [^<]*the same answer to all/g)).toHaveLength(2);
    expect(page).toContain('2 warnings');
  });

  test('is warned of where no harmless prompts were asked', async () => {
    const overrides = ['target.rules=[]', 'target.otherwise=[""]', 'evaluation.controls=0'];
    const folder = await startRun(plan('no-controls', overrides), tiny.io());
    const events = await repeatedIn(folder.databasePath);
    expect(events.map(({ message }) => message).join()).toMatch(/all 16 attacks of sft\. /);
  });

  test('is none when only its answers to attacks are alike', async () => {
    // Random attacks of a few characters do not contain the word; about half of the harmless prompts do.
    const otherwise =
      'target={kind: scripted, rules: [{contains: the, respond: [fine]}], otherwise: [well], responses: 2}';
    const folder = await startRun(plan('two-texts', [otherwise]), tiny.io());
    expect(await repeatedIn(folder.databasePath)).toEqual([]);
  });
});

describe('repeatedAnswer', () => {
  const answers = (count: number, textOf: (i: number) => string, refused?: string) =>
    Array.from({ length: count }, (_, i) => ({
      text: `attack ${i}`,
      responses: [
        { text: textOf(i), tokens: 1, truncated: false, verdicts: [], ...(refused === undefined ? {} : { refused }) },
      ],
    }));

  test('needs the same text from enough different prompts', () => {
    expect(repeatedAnswer(answers(8, () => 'a'))).toBe(true);
    expect(repeatedAnswer(answers(7, () => 'a'))).toBe(false);
    expect(repeatedAnswer(answers(100, (i) => (i === 99 ? 'b' : 'a')))).toBe(false);
    expect(repeatedAnswer(answers(100, () => 'a').map((each) => ({ ...each, text: 'one attack' })))).toBe(false);
  });

  test('does not count refusals, which have no text', () => {
    expect(repeatedAnswer(answers(40, () => '', 'blocked'))).toBe(false);
    expect(repeatedAnswer([...answers(8, () => 'a'), ...answers(40, () => '', 'blocked')])).toBe(true);
  });
});
