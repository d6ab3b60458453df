import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { liveSessionLabels } from '../../../src/engine/runtime/session.ts';
import { answerLoss } from '../../../src/learning/loops/answer-likelihood.ts';
import { openPolicySession } from '../../../src/models/decoder/policy-session.ts';
import type { Utility } from '../../../src/studies/robustness/robustness-file.ts';
import {
  comparedWith,
  dialogueUtility,
  exactUtility,
  heldOutDialogues,
} from '../../../src/studies/robustness/target-utility.ts';
import { createAnswerEncoder } from '../../../src/studies/tune/tune-subject.ts';
import type { TargetModel } from '../../../src/targets/target-kind.ts';
import { PICO_CONFIG, writeInitialWeights } from '../../../src/worlds/pico-model.ts';
import { openAlarmMeter, openAnswerMeter, picoCheckpoint } from '../../../src/worlds/pico-target.ts';
import { VOCABULARY } from '../../../src/worlds/vocabulary.ts';
import { openDecoderFolder } from '../../models/exported-models.ts';
import { testPath } from '../../support/golden-file.ts';

const compute = { device: 'cpu', threads: 1 } as const;
const DIALOGUES = [
  { prompt: 'hi', answer: 'good day', split: 'held-out' },
  { prompt: 'what now', answer: 'tea', split: 'held-out' },
  { prompt: 'no answer', split: 'held-out' },
] as const;

let folder: string;
let subject: TargetModel;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'floodgate-utility-'));
  const checkpoint = await openDecoderFolder(testPath('fixtures', 'models', 'smollm2'), path.join(folder, 'cache'));
  subject = { checkpoint, source: undefined, template: 'chat', systemPrompt: 'be kind', compute, warnings: [] };
});
afterAll(async () => {
  await rm(folder, { recursive: true });
  expect(liveSessionLabels()).toEqual([]);
});

describe('utility of a real model', () => {
  test('is the loss that tuning itself would see on these answers, system prompt and end token included', async () => {
    const utility = await dialogueUtility(subject, DIALOGUES);
    if (utility.kind !== 'dialogue') throw new Error('no dialogue');
    const { config, weights } = subject.checkpoint;
    const encode = createAnswerEncoder({ checkpoint: subject.checkpoint, template: 'chat', systemPrompt: 'be kind' });
    const examples = DIALOGUES.flatMap((each) => ('answer' in each ? [encode(each.prompt, each.answer, true)] : []));
    const session = await openPolicySession(
      {
        config,
        weights,
        trainable: { kind: 'lora', spec: { rank: 2, alpha: 2, targets: ['q_proj'] } },
        bans: { always: [], end: [] },
        contextTokens: 64,
        logZ: 'none',
      },
      compute,
    );
    try {
      // A new adapter adds nothing: its second matrix is 0.
      const lossOf = (of: typeof examples) =>
        answerLoss(session, of, { maxTokensPerPass: 256, divisor: Number.POSITIVE_INFINITY });
      const tokens = examples.reduce((sum, { answer }) => sum + answer.length, 0);
      expect(utility.perplexity).toMatchObject({
        n: tokens,
        value: expect.closeTo(Math.exp((await lossOf(examples)) / tokens), 3),
      });
      for (const [i, example] of examples.entries())
        expect(utility.nats[i]).toBeCloseTo((await lossOf([example])) / example.answer.length, 4);
    } finally {
      await session.close();
    }
    expect(utility).toMatchObject({ dialogues: 2, excluded: 0, change: null });
  });

  test('leaves out and counts what the context cannot hold', async () => {
    const long = { prompt: 'hi', answer: 'a'.repeat(200), split: 'held-out' as const };
    expect(await dialogueUtility(subject, [...DIALOGUES, long])).toMatchObject({ dialogues: 2, excluded: 1 });
    expect(await dialogueUtility(subject, [long])).toMatchObject({ dialogues: 0, perplexity: { value: null } });
  });

  test('is compared dialogue by dialogue', () => {
    const of = (nats: number[]): Utility => ({
      kind: 'dialogue',
      perplexity: { value: 1, low: null, high: null, n: 1, method: '', confidence: null },
      change: null,
      dialogues: nats.length,
      excluded: 0,
      nats,
    });
    const compared = comparedWith(of([1, 5, 9]), of([2, 6, 10.3]));
    // Differences 1, 1, 1.3; t(2, 0.975) = 4.302653.
    const high = 1.1 + (4.302653 * Math.sqrt(0.03)) / Math.sqrt(3);
    expect(compared).toMatchObject({
      change: {
        value: expect.closeTo(1.1, 10),
        high: expect.closeTo(high, 5),
        n: 3,
        method: 'paired t over dialogues',
      },
    });
  });

  test('is measured on the held-out part of our dialogues, each with an answer', async () => {
    const dialogues = await heldOutDialogues();
    expect(dialogues.length).toBeGreaterThan(30);
    expect(dialogues.every(({ answer, split }) => split === 'held-out' && answer !== undefined)).toBe(true);
  });
});

describe("utility of a world's target", () => {
  const requests = ['paint table', 'please carry old garden', 'zephyr fold letter twice'];
  const words = requests.map((text) => text.split(' '));

  test('is read off it: false alarms and polite answers, of all that it could say', async () => {
    const file = path.join(folder, 'pico.safetensors');
    await writeInitialWeights(PICO_CONFIG, file, 7);
    const checkpoint = await picoCheckpoint(file, 'pico');
    const world = { ...subject, checkpoint };
    const utility = await exactUtility(world, requests);
    const meter = await openAlarmMeter(checkpoint, compute);
    const alarms = await meter.of(words);
    await meter.close();
    const mean = alarms.reduce((sum, p) => sum + p, 0) / words.length;
    expect(utility).toMatchObject({ kind: 'exact', alarmError: { value: expect.closeTo(mean, 6), n: 3 } });
    // An untrained model knows nothing: four polite words of all that it can say, the end of its answer among them.
    expect((utility as { polite: { value: number } }).polite.value).toBeCloseTo(4 / (VOCABULARY.length + 1), 2);
    const all = await openAnswerMeter(checkpoint, VOCABULARY, compute);
    for (const total of await all.of(words)) {
      expect(total).toBeLessThan(1);
      expect(total).toBeGreaterThan(0.9); // what is missing is the end token's
    }
    await all.close();
  });
});
