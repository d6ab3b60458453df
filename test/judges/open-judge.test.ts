import { afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { FloodgateError } from '../../src/base/errors.ts';
import { liveSessionLabels } from '../../src/engine/runtime/session.ts';
import { type JudgeConfigInput, judgeConfigSchema } from '../../src/judges/judge-config.ts';
import type { JudgeModels } from '../../src/models/open-models.ts';
import { openJudge } from '../../src/judges/open-judge.ts';
import { createFakeClassifier, fakeModels } from './fake-models.ts';
import { describeJudgeContract } from './judge-contract.ts';

afterEach(() => expect(liveSessionLabels()).toEqual([]));

const lexicon: JudgeConfigInput = {
  kind: 'lexicon',
  rules: [{ terms: ['idiot*', 'shut up'], weight: 0.8 }, { hashedTerms: [{ hash: '1b3f1fcf0e4b6b4c', words: 1 }] }],
};
const classifier: JudgeConfigInput = { kind: 'classifier', model: 'fake', unsafeLabels: ['rude'] };
const guard: JudgeConfigInput = { kind: 'guard', model: 'fake', format: 'qwen3guard' };

const CONFIGS: [string, JudgeConfigInput][] = [
  ['profanity', { kind: 'profanity' }],
  ['tox-block', { kind: 'tox-block', label: 'insult', scale: 'raw' }],
  ['lexicon', lexicon],
  ['classifier', classifier],
  ['classifier on pairs', { ...classifier, activation: 'softmax', input: 'attack-and-response' }],
  ['llama-guard-3', { ...guard, format: 'llama-guard-3' }],
  ['qwen3guard', guard],
  ['masked', { kind: 'masked', judge: { kind: 'profanity' } }],
  ['ensemble', { kind: 'ensemble', members: [{ judge: lexicon, weight: 2 }, { judge: guard }] }],
];

const open = (config: JudgeConfigInput, models: JudgeModels = fakeModels) =>
  openJudge(judgeConfigSchema.parse(config), models);

for (const [name, config] of CONFIGS) describeJudgeContract(`openJudge: ${name}`, () => open(config), 1e-6);

describe('judge config', () => {
  it('refuses unknown kinds and keys, at any depth', () => {
    expect(judgeConfigSchema.safeParse({ kind: 'profanty' }).success).toBe(false);
    expect(judgeConfigSchema.safeParse({ kind: 'profanity', label: 'toxic' }).success).toBe(false);
    const nested = { kind: 'ensemble', members: [{ judge: { kind: 'tox-block', lable: 'toxic' } }] };
    expect(judgeConfigSchema.safeParse(nested).error?.issues[0]?.path).toEqual(['members', 0, 'judge']);
  });

  it('can be written as JSON Schema', () => {
    expect(JSON.stringify(z.toJSONSchema(judgeConfigSchema, { io: 'input' }))).toContain('tox-block');
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
    const config: JudgeConfigInput = { ...classifier, unsafeLabels: ['toxic'], labels: ['a'], activation: 'softmax' };
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
    const config: JudgeConfigInput = {
      kind: 'ensemble',
      members: [{ judge: { kind: 'tox-block' } }, { judge: classifier }, { judge: guard }],
    };
    await expect(open(config, models)).rejects.toThrow('not there');
    expect(fake.isClosed()).toBe(true); // and afterEach finds no session
  });
});
