import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { planRun } from '../../src/stages/campaign/plan-run.ts';
import { createTinyCampaign, type TinyCampaign } from '../stages/tiny-campaign.ts';
import { openAiAnswers, startTestServer, type TestServer } from '../targets/openai-server.ts';

let tiny: TinyCampaign;
let server: TestServer;
let target: string;

beforeAll(async () => {
  tiny = await createTinyCampaign();
  const answer = openAiAnswers();
  server = await startTestServer((response, seen) => setTimeout(() => answer(response, seen), 50));
  const decode = { maxNewTokens: 10 };
  target = `target=${JSON.stringify({ kind: 'openai', baseUrl: `${server.url}/v1`, model: 'm', responses: 2, decode, concurrency: 4, systemPrompt: 'be kind.' })}`;
});
afterAll(async () => {
  await server.close();
  await tiny.remove();
});

const SHORT = ['attackers=[sft]', 'evaluation={attacks: 100, responses: 2, controls: 0, causes: {clusters: 0}}'];

describe('a plan', () => {
  it('says that no price is given, which caps there are, and how long the answers take', async () => {
    const plan = await planRun(tiny.config([target, ...SHORT, 'budget={targetCalls: 150}']), tiny.io());
    expect(plan.money).toBeNull();
    expect(plan.budget).toEqual({ targetCalls: 150 });
    expect(plan.latencyMs).toBeGreaterThan(49);
    // 200 answers, four at once, of 50 ms and more.
    expect(plan.seconds).toBeGreaterThan((200 / 4) * 0.049);
  });

  it('says the money of calls and tokens by the price table', async () => {
    const prices =
      'prices={currency: EUR, target: {perCall: 0.5, perMillionPromptTokens: 1000, perMillionTokens: 2000}}';
    const { money } = await planRun(tiny.config([target, ...SHORT, prices]), tiny.io());
    // 200 calls of 6 tokens of an attack, 2 of the system prompt, and 10 of an answer.
    expect(money).toMatchObject({ currency: 'EUR', judges: 0 });
    expect(money?.target).toBeCloseTo(200 * (0.5 + 8 * 0.001 + 10 * 0.002));
  });

  it('says nothing of the kind for a run on this machine', async () => {
    const plan = await planRun(tiny.config(SHORT), tiny.io());
    expect(plan).toMatchObject({ money: null, budget: {}, latencyMs: null, hosts: [] });
  });
});
