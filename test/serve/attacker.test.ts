import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunFolder } from '../../src/runs/run-folder.ts';
import { openServedAttacker } from '../../src/serve/served-model.ts';
import { startRun } from '../../src/stages/campaign/run-campaign.ts';
import { openTrainedAttacker, sampleAttacks } from '../../src/stages/campaign/sample-attacks.ts';
import { cli } from '../cli/cli-runner.ts';
import { createTinyCampaign, type TinyCampaign } from '../stages/tiny-campaign.ts';
import { type Served, serveForTest, TINY, TOKEN } from './served.ts';

const SHORT = ['sft.updates=3', 'gflownet.updates=5', 'smoothing.updates=3', 'evaluation.attacks=8', 'watch.attacks=4'];
const STAGE = 'gflownet';

let tiny: TinyCampaign;
let folder: RunFolder;
let served: Served;

beforeAll(async () => {
  tiny = await createTinyCampaign();
  const { runsFolder } = tiny;
  const start = { config: tiny.config(SHORT), runsFolder, name: 'short', ifTaken: 'refuse' } as const;
  folder = await startRun(start, tiny.io());
  served = await serveForTest(await openServedAttacker({ folder, stage: STAGE }, tiny.io()));
}, 60_000);
afterAll(async () => {
  await served.close();
  await tiny.remove();
});

const BODY = { model: `short/${STAGE}`, n: 6, seed: 3 };
const chat = (content: string, rest: object = {}) =>
  served.client.chat.completions.create({ ...BODY, messages: [{ role: 'user', content }], ...rest });

describe("a run's attacker", () => {
  it('writes the attacks that floodgate sample writes with the seed, whatever the message says', async () => {
    const attacks = await sampleAttacks(folder, { stage: STAGE, count: 6, temperature: 1, seed: 3 }, tiny.io());
    const { choices } = await chat('');
    expect(choices.map(({ message }) => message.content)).toEqual(attacks.map(({ text }) => text));
    const other = await chat('Write a poem about a lighthouse.', { seed: 3 });
    expect(other.choices).toEqual(choices);
    expect((await chat('', { seed: 4 })).choices).not.toEqual(choices);
  });

  it('gives the log-probs of its own policy', async () => {
    const { attacker, state, close } = await openTrainedAttacker(folder, STAGE, tiny.io());
    try {
      const { choices } = await chat('', { logprobs: true });
      const attacks = await attacker.sample(
        state,
        choices.map((_, choice) => ({ stream: served.model.streamOf(3, 0, choice), temperature: 1 })),
      );
      const scored = await attacker.score(state, attacks);
      choices.forEach(({ logprobs }, i) => {
        const given = (logprobs?.content ?? []).map(({ logprob }) => logprob);
        expect(given.length).toBe(attacks[i]?.tokens.length);
        given.forEach((logprob, t) => {
          expect(logprob).toBeCloseTo(scored[i]?.[t] as number, 4);
        });
      });
    } finally {
      await close();
    }
  });

  it('keeps the lengths that the run set', async () => {
    const { choices, usage } = await chat('', { n: 40, max_tokens: 500, logprobs: true });
    const lengths = choices.map(({ logprobs }) => logprobs?.content?.length ?? 0);
    expect(Math.min(...lengths)).toBeGreaterThanOrEqual(2);
    expect(Math.max(...lengths)).toBe(6);
    expect(usage?.completion_tokens).toBeLessThanOrEqual(240);
  });

  it('goes on from the beginning of an attack', async () => {
    const { attacker, close } = await openTrainedAttacker(folder, STAGE, tiny.io());
    await close();
    const given = attacker.tokensOf('so').tokens.length;
    const empty = await served.client.completions.create({ ...BODY, prompt: '', max_tokens: 50 });
    expect(empty.choices.map(({ text }) => text)).toEqual(
      (await chat('')).choices.map(({ message }) => message.content),
    );
    const begun = await served.client.completions.create({ ...BODY, prompt: 'so', max_tokens: 50, n: 40, logprobs: 0 });
    expect(begun.usage?.prompt_tokens).toBe((empty.usage?.prompt_tokens ?? 0) + given);
    expect(Math.max(...begun.choices.map(({ logprobs }) => logprobs?.tokens?.length ?? 0))).toBe(6 - given);
    const tooLong = served.client.completions.create({ ...BODY, prompt: 'so what now and so on and on' });
    await expect(tooLong).rejects.toMatchObject({ status: 400, code: 'context_length_exceeded' });
  });

  it('streams the same attack', async () => {
    const { choices } = await chat('', { n: 1 });
    let text = '';
    const stream = await served.client.chat.completions.create({
      ...BODY,
      n: 1,
      messages: [{ role: 'user', content: 'go' }],
      stream: true,
    });
    for await (const { choices } of stream) text += choices[0]?.delta.content ?? '';
    expect(text).toBe(choices[0]?.message.content);
  });
});

/** Runs `floodgate serve` until `use` is done with it, then stops it as Ctrl-C does. */
async function serving(args: readonly string[], use: (shown: Record<string, string>) => Promise<void>) {
  const stop = new AbortController();
  let shown: Promise<void> | undefined;
  const cacheFolder = tiny.io().cacheDir as string;
  const all = ['--json', '--cache-dir', cacheFolder, 'serve', '--port', '0', '--runs-dir', tiny.runsFolder, ...args];
  const stdout = {
    write: (text: string) => {
      shown = use(JSON.parse(text) as Record<string, string>).finally(() => stop.abort());
    },
  };
  const outcome = await cli(all, { signal: stop.signal, stdout });
  await shown;
  return outcome;
}

const get = (url: string | undefined, token: string | undefined) =>
  fetch(`${url}/models`, { headers: { authorization: `Bearer ${token}` } });

describe('floodgate serve', () => {
  it('serves the last trained attacker of a run, with a new token each time, until Ctrl-C', async () => {
    const tokens: (string | undefined)[] = [];
    for (const name of ['short', 'run:short']) {
      const { code } = await serving([name], async ({ url, model, token }) => {
        expect(model).toBe('short/smoothing');
        expect((await get(url, token)).status).toBe(200);
        tokens.push(token);
      });
      expect(code).toBe(0);
    }
    expect(new Set(tokens).size).toBe(2);
    expect(tokens[0]).toMatch(/^[\w-]{32}$/);
  });

  it('serves a model under a name of one’s own, with the token of a variable that is not printed', async () => {
    process.env.SERVE_TEST_TOKEN = TOKEN;
    const args = [TINY, '--id', 'mine', '--token-env', 'SERVE_TEST_TOKEN', '--threads', '1'];
    const { code } = await serving(args, async (shown) => {
      expect(shown).toEqual({ url: expect.any(String), model: 'mine', tokenEnv: 'SERVE_TEST_TOKEN' });
      expect((await get(shown.url, TOKEN)).status).toBe(200);
    });
    delete process.env.SERVE_TEST_TOKEN;
    expect(code).toBe(0);
  });

  it.each<[string, readonly string[], RegExp]>([
    ['a run that is not there', ['run:nobody'], /no such run/],
    ['a model that is not there', ['nobody'], /nobody/],
    ['a stage without a run', [TINY, '--stage', 'gflownet'], /--stage needs a run/],
    ['a stage that was not trained', ['short', '--stage', 'ppo'], /no checkpoint of stage ppo/],
    ['threads of a run', ['short', '--threads', '2'], /--threads is for models/],
    ['a variable that is not set', ['short', '--token-env', 'SERVE_TEST_UNSET'], /SERVE_TEST_UNSET is not set/],
    ['a port that cannot be', ['short', '--port', '70000'], /expected a port/],
  ])('refuses %s', async (_name, args, message) => {
    const { code, stderr } = await cli(['serve', '--runs-dir', tiny.runsFolder, ...args]);
    expect(code).toBeGreaterThan(0);
    expect(stderr).toMatch(message);
  });
});
