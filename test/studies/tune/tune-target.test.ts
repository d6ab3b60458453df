import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { silentProgress } from '../../../src/base/progress.ts';
import { liveSessionLabels } from '../../../src/engine/runtime/session.ts';
import type { DecoderCheckpoint } from '../../../src/models/checkpoint/checkpoint.ts';
import { openMergedWeights } from '../../../src/models/export/model-folder.ts';
import { readPeftAdapter } from '../../../src/models/export/peft-adapter.ts';
import { tuningSection } from '../../../src/stages/config/tuning-section.ts';
import { createAnswerEncoder, turnEndId } from '../../../src/studies/tune/tune-subject.ts';
import { type TuneTargetOptions, tuneTarget } from '../../../src/studies/tune/tune-target.ts';
import { createAttackEncoder } from '../../../src/targets/local-target.ts';
import { PICO_CONFIG, writeInitialWeights } from '../../../src/worlds/pico-model.ts';
import { picoCheckpoint } from '../../../src/worlds/pico-target.ts';
import { ALARM_WORD, POLITE_WORDS } from '../../../src/worlds/vocabulary.ts';
import { EXPORT_ROW, logitsOf, openDecoderFolder, randomAdapter } from '../../models/exported-models.ts';
import { largestGap } from '../../models/open-fixture.ts';
import { testPath } from '../../support/golden-file.ts';

let folder: string;
let checkpoint: DecoderCheckpoint;

const openFixture = (name: string) =>
  openDecoderFolder(testPath('fixtures', 'models', name), path.join(folder, 'cache'));

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'floodgate-tune-'));
  checkpoint = await openFixture('smollm2');
});
afterAll(async () => {
  await rm(folder, { recursive: true });
  expect(liveSessionLabels()).toEqual([]);
});

describe('createAnswerEncoder', () => {
  test('puts the answer after the very prompt that the target is asked, and closes the turn as the template does', () => {
    const { tokenizer } = checkpoint;
    for (const systemPrompt of [undefined, 'be kind']) {
      const options = {
        checkpoint,
        template: 'chat',
        ...(systemPrompt === undefined ? {} : { systemPrompt }),
      } as const;
      const { prompt, answer } = createAnswerEncoder(options)('say it', 'no.', true);
      expect(prompt).toEqual(createAttackEncoder(options)('say it'));
      // The tiny vocabulary has no line break.
      expect(tokenizer.decode(prompt, { skipSpecial: false })).toMatch(/<\|im_start\|>assistant<unk>$/);
      expect(tokenizer.decode(answer, { skipSpecial: false })).toBe('no.<|im_end|>');
    }
  });

  test('a cut answer has no end; control tokens in a text are text', () => {
    const encode = createAnswerEncoder({ checkpoint, template: 'chat' });
    const ids = encode('say it', 'so <|im_end|> on', false).answer;
    expect(ids).not.toContain(turnEndId(checkpoint));
    expect(encode('say it', 'so', true).answer.at(-1)).toBe(turnEndId(checkpoint));
  });

  test('without a template the answer begins a word of its own; a chat is refused', async () => {
    const gpt2 = await openFixture('gpt2');
    const { prompt, answer } = createAnswerEncoder({ checkpoint: gpt2, template: 'plain' })('say it', 'no', true);
    expect(gpt2.tokenizer.decode(prompt)).toBe('say it');
    expect(gpt2.tokenizer.decode(answer, { skipSpecial: false })).toBe(' no<|endoftext|>');
    expect(() => createAnswerEncoder({ checkpoint: gpt2, template: 'chat' })).toThrow(/has no chat template/);
  });
});

function optionsFor(name: string, changes: Partial<TuneTargetOptions> = {}): TuneTargetOptions {
  const encode = createAnswerEncoder({ checkpoint, template: 'chat' });
  const training = ['ab', 'cd', 'ef', 'gh', 'ij', 'kl'].map((prompt) => encode(prompt, 'no.', true));
  return {
    checkpoint,
    folder: path.join(folder, name),
    data: { training, validation: ['zz', 'yx'].map((prompt) => encode(prompt, 'no.', true)) },
    settings: tuningSection.parse({
      lora: { rank: 4, alpha: 8 },
      epochs: 8,
      batchSize: 3,
      learningRate: 0.01,
      validateEveryUpdates: 4,
    }),
    seed: 5,
    compute: { device: 'cpu', threads: 1 },
    progress: silentProgress,
    ...changes,
  };
}

describe('tuneTarget', () => {
  test('learns, and its adapter, its folder and its checkpoint in memory are one model', async () => {
    const source = testPath('fixtures', 'models', 'smollm2');
    const tuned = await tuneTarget(optionsFor('whole', { source }));
    const { record } = tuned;
    expect(record).toMatchObject({ updates: 16, plannedUpdates: 16, trainingExamples: 6, validationExamples: 2 });
    expect(record.validationLossKept as number).toBeLessThan((record.validationLossBefore as number) / 2);
    expect(record.curve.map(({ update }) => update)).toEqual(Array.from({ length: 16 }, (_, i) => i));
    const logits = await logitsOf(tuned.checkpoint, EXPORT_ROW);
    const adapter = await readPeftAdapter(tuned.adapterPath, checkpoint.config);
    expect(largestGap(await logitsOf(checkpoint, EXPORT_ROW, adapter), logits)).toBeLessThan(1e-4);
    const weights = await openMergedWeights(tuned.modelPath, checkpoint.config);
    expect(largestGap(await logitsOf({ ...checkpoint, weights }, EXPORT_ROW), logits)).toBe(0);
    expect(largestGap(await logitsOf(checkpoint, EXPORT_ROW), logits)).toBeGreaterThan(0.1);
    expect(existsSync(path.join(folder, 'whole', 'checkpoints'))).toBe(false);
  });

  test('a tuning that was interrupted ends in the same bytes', async () => {
    const whole = await readFile(path.join(folder, 'whole', 'model', 'model.safetensors'));
    const controller = new AbortController();
    const progress = {
      start: () => ({
        update: (done: number) => {
          if (done === 7) controller.abort();
        },
        finish: () => undefined,
      }),
    };
    const interrupted = tuneTarget(optionsFor('stopped', { signal: controller.signal, progress }));
    await expect(interrupted).rejects.toMatchObject({ code: 'interrupted' });
    expect(existsSync(path.join(folder, 'stopped', 'model'))).toBe(false);
    const { record } = await tuneTarget(optionsFor('stopped'));
    expect(record.curve).toHaveLength(16);
    expect((await readFile(path.join(folder, 'stopped', 'model', 'model.safetensors'))).equals(whole)).toBe(true);
  });

  test('training that only makes things worse leaves the target as it was', async () => {
    const { settings } = optionsFor('x');
    const uphill = { ...settings, learningRate: -0.01, patience: 1 };
    const { record, checkpoint: tuned } = await tuneTarget(optionsFor('worse', { settings: uphill }));
    expect(record).toMatchObject({ keptUpdates: 0, updates: 4, stoppedEarly: true });
    expect(largestGap(await logitsOf(tuned, EXPORT_ROW), await logitsOf(checkpoint, EXPORT_ROW))).toBe(0);
  });

  test('starts from an adapter, with its rank', async () => {
    const start = randomAdapter(checkpoint, { rank: 2, alpha: 2, targets: ['v_proj'] });
    const settings = tuningSection.parse({ epochs: 1, batchSize: 6, learningRate: 1e-9 });
    const { adapterPath } = await tuneTarget(optionsFor('started', { start, settings }));
    const read = await readPeftAdapter(adapterPath, checkpoint.config);
    expect(read.spec.rank).toBe(2);
    for (const [name, { data }] of start.tensors) {
      expect(largestGap(read.tensors.get(name)?.data ?? [], data)).toBeLessThan(1e-6);
    }
  });

  test('keeps the last update without a validation split, and refuses to learn from nothing', async () => {
    const { data } = optionsFor('x');
    const { record } = await tuneTarget(optionsFor('unvalidated', { data: { ...data, validation: [] } }));
    expect(record).toMatchObject({ keptUpdates: 16, validationLossKept: null });
    const nothing = tuneTarget(optionsFor('nothing', { data: { training: [], validation: [] } }));
    await expect(nothing).rejects.toMatchObject({ code: 'run', message: expect.stringContaining('nothing to learn') });
  });

  test('refuses an example that is longer than the model', async () => {
    const long = { prompt: new Array(60).fill(7), answer: new Array(10).fill(7) };
    const options = optionsFor('long', { data: { training: [long], validation: [] } });
    await expect(tuneTarget(options)).rejects.toThrow(/an example has 70 tokens, expected at most 64/);
  });

  test('tunes a model made in-process, which has no files but its weights', async () => {
    const path0 = path.join(folder, 'pico.safetensors');
    await writeInitialWeights(PICO_CONFIG, path0, 3);
    const pico = await picoCheckpoint(path0, 'world:3/target');
    const encode = createAnswerEncoder({ checkpoint: pico, template: 'chat' });
    const polite = POLITE_WORDS[0] as string;
    const requests = POLITE_WORDS.slice(0, 4).map((word) => `${ALARM_WORD} ${word}`);
    const options = optionsFor('pico', {
      checkpoint: pico,
      data: { training: requests.map((request) => encode(request, polite, true)), validation: [] },
    });
    const tuned = await tuneTarget(options);
    expect(tuned.record.curve.at(-1)?.loss as number).toBeLessThan((tuned.record.curve[0]?.loss as number) / 2);
    expect((await readdir(tuned.modelPath)).sort()).toEqual(['config.json', 'model.safetensors']);
    const weights = await openMergedWeights(tuned.modelPath, PICO_CONFIG);
    const row = encode(requests[0] as string, polite, true);
    const ids = [...row.prompt, ...row.answer];
    expect(largestGap(await logitsOf({ ...pico, weights }, ids), await logitsOf(tuned.checkpoint, ids))).toBe(0);
  });
});
