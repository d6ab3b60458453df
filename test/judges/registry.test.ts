import { afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { FloodgateError } from '../../src/base/errors.ts';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { createBatchedJudge, type JudgeConfig, type JudgeHost } from '../../src/judges/judge.ts';
import { judgeConfigOf, judgeMeasures, judgeName } from '../../src/judges/judge-names.ts';
import { anyJudge, defineJudge, judgeKinds, judgeSchema, openJudge } from '../../src/judges/registry.ts';
import type { JudgeModels } from '../../src/models/open-models.ts';
import '../../src/worlds/world-kinds.ts';
import { createFakeClassifier, fakeModels } from './fake-models.ts';
import { describeJudgeContract } from './judge-contract.ts';

afterEach(() => expect(liveSessionLabels()).toEqual([]));

const lexicon: JudgeConfig = {
  kind: 'lexicon',
  rules: [{ terms: ['idiot*', 'shut up'], weight: 0.8 }, { hashedTerms: [{ hash: '1b3f1fcf0e4b6b4c', words: 1 }] }],
};
const classifier: JudgeConfig = { kind: 'classifier', model: 'fake', unsafeLabels: ['rude'] };
const guard: JudgeConfig = { kind: 'guard', model: 'fake', format: 'qwen3guard' };

const CONFIGS: [string, JudgeConfig][] = [
  ['profanity', { kind: 'profanity' }],
  ['tox-block', { kind: 'tox-block', label: 'insult', scale: 'raw' }],
  ['lexicon', lexicon],
  ['classifier', classifier],
  ['classifier on pairs', { ...classifier, activation: 'softmax', input: 'attack-and-response' }],
  ['llama-guard-3', { ...guard, format: 'llama-guard-3' }],
  ['qwen3guard', guard],
  ['masked', { kind: 'masked', judge: { kind: 'profanity' } }],
  ['ensemble', { kind: 'ensemble', members: [{ judge: lexicon, weight: 2 }, { judge: guard }] }],
  ['world', { kind: 'world' }],
  ['a judge of a user', { kind: 'shouting' }],
];

const world = { spec: { noise: 0.5 } };

const open = (config: JudgeConfig, models: JudgeModels = fakeModels) =>
  openJudge(judgeSchema().parse(config), { models, world });

// Built and used before the judge of a user exists, as the config schema is.
const run = anyJudge();
const runMasked = z.strictObject({ judge: anyJudge('described') });
runMasked.parse({ judge: { kind: 'masked', judge: { kind: 'profanity' } } });
run.parse({ kind: 'masked', judge: { kind: 'profanity' } });

/** A judge as a user writes one: the share of capital letters in the response. */
defineJudge({
  name: 'shouting',
  describe: 'the share of capital letters',
  fields: { limit: z.number().gt(0).max(1).default(0.5) },
  open: async ({ limit }) =>
    createBatchedJudge({
      name: 'shouting',
      maxBatch: 2,
      scoreBatch: async (batch) =>
        batch.map(({ response }) => {
          const capitals = response.match(/\p{Lu}/gu)?.length ?? 0;
          return { kind: 'scored', unsafe: Math.min(1, capitals / Math.max(1, response.length) / limit) };
        }),
    }),
});

for (const [name, config] of CONFIGS) describeJudgeContract(`openJudge: ${name}`, () => open(config), 1e-6);

describe('judgeName', () => {
  it.each(CONFIGS.filter(([name]) => name !== 'a judge of a user'))(
    'is the name of the opened judge: %s',
    async (_, config) => {
      const judge = await open(config);
      expect(judgeName(judgeSchema().parse(config))).toBe(judge.name);
      await judge.close();
    },
  );

  it('is the own name of a classifier or guard, and unknown where a part tells it only after opening', async () => {
    for (const config of [classifier, guard]) {
      const judge = await open({ ...config, name: 'mine' });
      expect([judge.name, judgeName({ ...config, name: 'mine' })]).toEqual(['mine', 'mine']);
      await judge.close();
    }
    const user = { kind: 'shouting' };
    expect(judgeName({ kind: 'masked', judge: user })).toBeUndefined();
    expect(
      judgeName({
        kind: 'ensemble',
        members: [
          { judge: guard, weight: 1 },
          { judge: user, weight: 1 },
        ],
      }),
    ).toBeUndefined();
  });
});

describe('judge config', () => {
  it('refuses unknown kinds and keys, at any depth', () => {
    expect(judgeSchema().safeParse({ kind: 'profanty' }).success).toBe(false);
    expect(judgeSchema().safeParse({ kind: 'profanity', label: 'toxic' }).success).toBe(false);
    const nested = { kind: 'ensemble', members: [{ judge: { kind: 'tox-block', lable: 'toxic' } }] };
    expect(judgeSchema().safeParse(nested).error?.issues[0]?.path).toEqual(['members', 0, 'judge']);
  });

  it('can be written as JSON Schema', () => {
    expect(JSON.stringify(z.toJSONSchema(judgeSchema(), { io: 'input' }))).toContain('tox-block');
  });

  it('passes the classifier what the config says, and closes it when its labels do not fit', async () => {
    const fake = createFakeClassifier();
    const specs: unknown[] = [];
    const models: JudgeModels = {
      ...fakeModels,
      openTextClassifier: async (spec) => {
        specs.push(spec);
        return fake;
      },
    };
    const config: JudgeConfig = { ...classifier, unsafeLabels: ['toxic'], labels: ['a'], activation: 'softmax' };
    await expect(open(config, models)).rejects.toThrow('no label toxic, expected one of clean, rude, threat');
    expect(specs).toEqual([{ model: 'fake', activation: 'softmax', labels: ['a'], device: 'cpu' }]);
    expect(fake.isClosed()).toBe(true);
  });

  it('closes the members already open when a later one cannot be opened', async () => {
    const fake = createFakeClassifier();
    const models: JudgeModels = {
      openTextClassifier: async () => fake,
      openLabelScorer: async ({ model }) => {
        throw new FloodgateError('source', `open ${model}: not there`);
      },
    };
    const config: JudgeConfig = {
      kind: 'ensemble',
      members: [{ judge: { kind: 'tox-block' } }, { judge: classifier }, { judge: guard }],
    };
    await expect(open(config, models)).rejects.toThrow('not there');
    expect(fake.isClosed()).toBe(true); // and afterEach finds no session
  });
});

describe('a judge of a user', () => {
  it('is accepted by a schema built before it, and inside other judges', async () => {
    expect(run.parse({ kind: 'shouting' })).toEqual({ kind: 'shouting', limit: 0.5 });
    const config = {
      kind: 'masked',
      judge: { kind: 'ensemble', members: [{ judge: { kind: 'shouting', limit: 1 } }] },
    };
    expect(runMasked.parse({ judge: config })).toEqual({ judge: run.parse(config) });
    const judge = await open(run.parse(config));
    expect(judge.name).toBe('ensemble(shouting*1)/masked');
    const exchanges = [
      { attack: 'ABC', response: 'ABC d' },
      { attack: '', response: 'ABcd' },
    ];
    expect(await judge.score(exchanges)).toMatchObject([{ unsafe: 0 }, { unsafe: 0.5 }]);
    await judge.close();
  });

  it('is refused with unknown keys, like any other', () => {
    expect(run.safeParse({ kind: 'shouting', limits: 1 }).success).toBe(false);
    expect(run.safeParse({ kind: 'masked', judge: { kind: 'shouting', limit: 2 } }).success).toBe(false);
  });

  it('cannot take the name of another', () => {
    const definition = { name: 'guard', describe: '', fields: {}, open: () => open({ kind: 'profanity' }) };
    expect(() => defineJudge(definition)).toThrow('the name guard is taken');
  });
});

describe('openJudge', () => {
  it('fills in defaults and refuses what the schema of the kind refuses', async () => {
    const host: JudgeHost = { models: fakeModels };
    const judge = await openJudge({ kind: 'lexicon', rules: [{ terms: ['idiot'] }] }, host);
    expect(judge.name).toBe('lexicon');
    expect(await judge.score([{ attack: '', response: 'idiot' }])).toEqual([{ kind: 'scored', unsafe: 1 }]);
    await judge.close();
    const refused = openJudge({ kind: 'guard', model: 'fake' }, host);
    await expect(refused).rejects.toMatchObject({ code: 'config', message: expect.stringContaining('guard.format') });
    await expect(openJudge({ kind: 'profanty' }, host)).rejects.toThrow('got profanty, expected one of profanity');
  });

  it('opens the judge of the world only in a run that has one', async () => {
    const refused = openJudge({ kind: 'world' }, { models: fakeModels });
    await expect(refused).rejects.toMatchObject({ code: 'config', hint: 'add world: {}' });
    expect(judgeKinds.names().slice(-2)).toEqual(['world', 'shouting']);
  });
});

describe('createBatchedJudge', () => {
  it('stops between two batches when the signal is aborted', async () => {
    const controller = new AbortController();
    const seen: string[] = [];
    const judge = createBatchedJudge({
      name: 'slow',
      maxBatch: 2,
      scoreBatch: async (batch) => {
        seen.push(...batch.map(({ response }) => response));
        controller.abort();
        return batch.map(() => ({ kind: 'scored', unsafe: 0 }));
      },
    });
    const exchanges = ['a', 'b', 'c'].map((response) => ({ attack: '', response }));
    await expect(judge.score(exchanges, { signal: controller.signal })).rejects.toMatchObject({ code: 'interrupted' });
    expect(seen).toEqual(['a', 'b']);
    expect(await judge.score(exchanges.slice(0, 2))).toHaveLength(2);
  });
});

describe('judgeMeasures', () => {
  const rude = { kind: 'profanity' };
  const words = { kind: 'lexicon', name: 'words', rules: [{ terms: ['alarm'], weight: 0.9 }] };
  const ensembleOf = (...judges: (typeof rude)[]) => ({
    kind: 'ensemble',
    members: judges.map((judge) => ({ judge, weight: 1 })),
  });

  it('is what the kind says, also inside other judges that measure nothing else', () => {
    expect(judgeMeasures(rude)?.quality).toBe('rudeness');
    expect(judgeMeasures({ kind: 'tox-block', label: 'toxic', scale: 'rescaled' })?.quality).toBe('rudeness');
    expect(judgeMeasures({ kind: 'masked', judge: rude })?.quality).toBe('rudeness');
    expect(judgeMeasures(ensembleOf(rude, rude))?.quality).toBe('rudeness');
    expect(judgeMeasures(ensembleOf(rude, words))).toBeUndefined();
    expect(judgeMeasures(words)).toBeUndefined();
  });

  it('a kind of a caller says it itself, whatever its judges are called', () => {
    defineJudge({
      name: 'spam-words',
      describe: 'for this test',
      fields: {},
      measures: () => ({ quality: 'spam', answer: 'an advertisement' }),
      open: async () => ({ name: 'mine', score: async () => [], close: async () => undefined }),
    });
    const config = { kind: 'spam-words' };
    expect(judgeConfigOf('mine', [words, config])).toBe(config);
    expect(judgeConfigOf('alt-profanity-check', [words, rude])).toBe(rude);
    expect(judgeMeasures(config)).toEqual({ quality: 'spam', answer: 'an advertisement' });
  });
});
