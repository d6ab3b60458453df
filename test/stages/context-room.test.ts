import { existsSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { planRun } from '../../src/stages/campaign/plan-run.ts';
import { startRun } from '../../src/stages/campaign/run-campaign.ts';
import { transferRun } from '../../src/studies/transfer/run-transfer.ts';
import { createTinyCampaign, type TinyCampaign } from './tiny-campaign.ts';

let tiny: TinyCampaign;
beforeAll(async () => {
  tiny = await createTinyCampaign();
});
afterAll(async () => {
  await tiny.remove();
  expect(liveSessionLabels()).toEqual([]);
});

const SHORT = [
  'attackers=[sft]',
  'sft.updates=2',
  'sft.warmupUpdates=0',
  'evaluation={attacks: 4, controls: 0, causes: {clusters: 0}}',
];
/** The context of the tiny model; its meta-prompt has three tokens. */
const CONTEXT = 64;
const local = (maxNewTokens: number): string =>
  `target={kind: local, model: ./attacker, template: plain, responses: 1, decode: {maxNewTokens: ${maxNewTokens}}}`;

test.each([
  [
    'attacks',
    [`attacker.maxTokens=${CONTEXT}`],
    /attacker\.maxTokens: got 64, expected at most \d\d: .* holds 64 tokens/,
  ],
  ['answers', [local(CONTEXT)], /target\.decode\.maxNewTokens: got 64, .* of the 64 tokens/],
])('%s that do not fit the context are refused by the plan and before any work', async (what, overrides, message) => {
  const config = tiny.config([...SHORT, ...overrides]);
  const refusal = { code: 'config', message: expect.stringMatching(message), hint: expect.stringContaining('set ') };
  await expect(planRun(config, tiny.io())).rejects.toMatchObject(refusal);
  const run = startRun({ config, runsFolder: tiny.runsFolder, name: what, ifTaken: 'refuse' }, tiny.io());
  await expect(run).rejects.toMatchObject(refusal);
  const database = path.join(tiny.runsFolder, what, 'run.db');
  if (!existsSync(database)) return;
  const store = await openStore(database, { readOnly: true });
  expect(store.stages()).toEqual([]);
  store.close();
});

test('the longest attack and answer that fit are planned', async () => {
  const refused = await planRun(tiny.config([...SHORT, `attacker.maxTokens=${CONTEXT}`]), tiny.io()).catch(
    (error) => error,
  );
  const most = Number(/expected at most (\d+)/.exec(refused.message)?.[1]);
  await planRun(tiny.config([...SHORT, `attacker.maxTokens=${most}`, local(CONTEXT - 4)]), tiny.io());
});

test('a transfer target refuses answers that leave no room for an attack', async () => {
  const config = tiny.config(SHORT);
  const folder = await startRun({ config, runsFolder: tiny.runsFolder, name: 'room', ifTaken: 'refuse' }, tiny.io());
  const model = path.join(tiny.folder, 'attacker');
  const target = { kind: 'local', name: 'small', model, template: 'plain', decode: { maxNewTokens: CONTEXT } } as const;
  await expect(transferRun(folder, { targets: [target as never], again: false }, tiny.io())).rejects.toMatchObject({
    code: 'config',
    message: expect.stringMatching(/transfer target small: .*got 64/),
  });
});
