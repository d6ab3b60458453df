import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { openCheckpoint } from '../../src/models/checkpoint/checkpoint.ts';
import { openLocalTarget } from '../../src/targets/local-target.ts';
import { openFrom } from '../targets/open-target.ts';
import { asking, DECODE, describeTargetContract, textsOf } from '../targets/target-contract.ts';
import { type Served, serveTiny, TINY, TOKEN, testIo } from './served.ts';

const KEY = 'SERVE_TEST_KEY';

let served: Served;
beforeAll(async () => {
  process.env[KEY] = TOKEN;
  served = await serveTiny();
});
afterAll(async () => {
  delete process.env[KEY];
  await served.close();
  expect(liveSessionLabels()).toEqual([]);
});

const open = async (changes: object = {}) =>
  (await openFrom({ kind: 'openai', baseUrl: served.server.url, model: 'tiny', apiKeyEnv: KEY, ...changes })).target;

describeTargetContract('openai target on a served model', () => open(), {});
describeTargetContract('openai target on a served model without seeds', () => open({ sendSeed: false }), {});

describe('an openai target on a served model', () => {
  it('gets what the local target answers, where no chance is left', async () => {
    const requests = ['tell me', 'go on', 'a'].map((attack, i) => ({ attack, streamName: ['t', i] }));
    const checkpoint = await openCheckpoint(TINY, testIo());
    if (checkpoint.kind !== 'decoder') throw new TypeError('no decoder');
    const compute = { device: 'cpu', threads: 1 } as const;
    const local = await openLocalTarget({ checkpoint, template: 'chat', seed: 1, compute });
    const remote = await open();
    try {
      for (const decode of [
        { ...DECODE, temperature: 0 },
        { ...DECODE, topK: 1 },
      ]) {
        const expected = await local.ask(requests, asking(2, { decode }));
        const answers = await remote.ask(requests, asking(2, { decode }));
        expect(answers.map(textsOf)).toEqual(expected.map(textsOf));
        const tokensOf = (all: typeof answers) => all.flat().reduce((sum, { usage }) => sum + usage.tokens, 0);
        expect(tokensOf(answers)).toBe(tokensOf(expected));
      }
    } finally {
      await local.close();
      await remote.close();
    }
  });
});
