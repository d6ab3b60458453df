import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { silentProgress } from '../../../src/base/progress.ts';
import { createAdamWState } from '../../../src/engine/optimizer/adamw.ts';
import { initialiseParameters, parameterView } from '../../../src/engine/optimizer/flat-parameters.ts';
import { liveSessionLabels } from '../../../src/engine/runtime/session.ts';
import {
  type AnswerExample,
  type AnswerUpdate,
  answerLoss,
  answerPasses,
  createValidationWatch,
  trainAnswers,
} from '../../../src/learning/loops/answer-likelihood.ts';
import { openPolicySession, type PolicySession } from '../../../src/models/decoder/policy-session.ts';
import { goldenFloat64, readGolden, relativeError, transposed } from '../../support/golden-file.ts';
import { type Family, type GoldenGradients, goldenModel, loadGoldenLora, parameterOfGolden } from './golden-step.ts';

interface GoldenAnswers extends Omit<GoldenGradients, 'deltaGradient'> {
  readonly examples: AnswerExample[];
  readonly sums: number[];
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'floodgate-answers-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
  expect(liveSessionLabels()).toEqual([]);
});

async function openGolden(family: Family, isTrained = true): Promise<PolicySession> {
  const { model, config, weights } = await goldenModel(family, folder);
  const spec = { rank: model.loraRank, alpha: model.loraRank * model.loraScale, targets: 'all-linear' } as const;
  const session = await openPolicySession(
    {
      config,
      weights,
      trainable: { kind: 'lora', spec },
      bans: { always: [], end: [] },
      contextTokens: 16,
      logZ: 'none',
    },
    { device: 'cpu', threads: 1 },
  );
  if (isTrained) loadGoldenLora(model, session.parameters);
  else initialiseParameters(session.parameters, 3);
  return session;
}

describe.each(['gpt2', 'llama', 'gemma3'] as const)('%s: the loss on answers', (family) => {
  // One pass for all that begin alike; every example alone, where nothing is shared and nothing padded.
  test.each([1000, 1])(
    'and its gradients equal PyTorch on whole sequences, passes of %s tokens',
    async (maxTokensPerPass) => {
      const golden = await readGolden<GoldenAnswers>('training', `${family}-answers`);
      const session = await openGolden(family);
      const tokens = golden.examples.reduce((sum, { answer }) => sum + answer.length, 0);
      const sum = await answerLoss(session, golden.examples, { maxTokensPerPass, divisor: tokens });
      expect(Math.abs(sum / tokens - golden.loss)).toBeLessThan(1e-5);
      let offset = 0;
      const found = new Map(
        session.parameters.specs.map(({ name }) => {
          const { length } = parameterView(session.parameters, name);
          offset += length;
          return [name, session.gradient.subarray(offset - length, offset)];
        }),
      );
      for (const [goldenName, tensor] of Object.entries(golden.gradients)) {
        const [rows = 1, columns = 1] = tensor.shape;
        const expected = transposed(goldenFloat64(tensor), rows, columns);
        const actual = found.get(parameterOfGolden(goldenName).name) as Float32Array;
        expect(relativeError(actual, expected), goldenName).toBeLessThan(1e-5);
      }
      await session.close();
    },
  );
});

test('passes hold every example once, its prompt and answer whole', () => {
  const ids = fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(fc.array(fc.record({ prompt: ids, answer: ids }), { minLength: 1, maxLength: 8 }), (examples) => {
      const seen = answerPasses(examples, 12).flatMap(({ prompt, rows, answerStarts }) => {
        expect(prompt.length).toBeGreaterThan(0);
        return rows.map((row, i) => [[...prompt, ...row.slice(0, answerStarts[i])], row.slice(answerStarts[i])]);
      });
      const expected = examples.map(({ prompt, answer }) => [prompt, answer]);
      const sorted = (values: readonly unknown[]) => values.map((value) => JSON.stringify(value)).sort();
      expect(sorted(seen)).toEqual(sorted(expected));
    }),
  );
});

const EXAMPLES: AnswerExample[] = [
  { prompt: [7, 9, 4], answer: [8, 30, 3] },
  { prompt: [7, 9, 5, 5], answer: [12, 2] },
  { prompt: [7, 1], answer: [14, 14, 2] },
];

interface Outcome {
  readonly updates: AnswerUpdate[];
  readonly done: number;
  readonly parameters: Float32Array;
  readonly watch: ReturnType<typeof createValidationWatch>;
  readonly kept: number[];
}

async function train(data: { training: AnswerExample[]; validation: AnswerExample[] }, rate: number) {
  const session = await openGolden('llama', false);
  const [curve, kept, watch] = [[] as AnswerUpdate[], [] as number[], createValidationWatch()];
  const done = await trainAnswers(
    { policy: session, ...data, watch, curve, keepBest: async (count) => void kept.push(count) },
    {
      batchSize: 2,
      maxTokensPerPass: 1000,
      learningRate: { peak: rate, warmupUpdates: 0, decay: 'constant', totalUpdates: 30 },
      gradientClip: 1,
      weightDecay: 0,
      seed: 1,
      validateEveryUpdates: 2,
      patience: 2,
    },
    {
      control: { checkpoints: { folder, stage: 'answers' }, checkpointEveryUpdates: 100, progress: silentProgress },
      from: 0,
      optimizer: createAdamWState(session.parameters.data.length),
      onUpdate: async () => false,
    },
  );
  const parameters = session.parameters.data.slice();
  await session.close();
  return { updates: curve, done, parameters, watch, kept } satisfies Outcome;
}

test('training lowers the loss, the same way each time', async () => {
  const first = await train({ training: EXAMPLES, validation: EXAMPLES }, 3e-3);
  expect(first.watch.bestLoss).toBeLessThan((first.watch.initialLoss as number) * 0.8);
  expect(first.kept[0]).toBe(0); // the model as it was is the first candidate
  const second = await train({ training: EXAMPLES, validation: EXAMPLES }, 3e-3);
  expect(second.updates.map(({ loss }) => loss)).toHaveLength(first.updates.length);
  expect(second.watch).toEqual(first.watch);
});

test('training ends when the validation loss has stopped falling', async () => {
  const validation = [{ prompt: [7, 9, 4], answer: [20, 21, 22] }]; // what training makes less likely in the end
  const { done, watch, kept } = await train({ training: EXAMPLES, validation }, 3e-2);
  expect(done).toBeLessThan(30);
  expect(done).toBe(watch.bestUpdates + 4); // two validations without improvement, two updates apart
  expect(kept.at(-1)).toBe(watch.bestUpdates);
});

test('training that only makes things worse leaves the model as it was the best', async () => {
  const { done, watch, kept } = await train({ training: EXAMPLES, validation: EXAMPLES }, -1e-2); // uphill
  expect({ done, kept, best: watch.bestLoss }).toEqual({ done: 4, kept: [0], best: watch.initialLoss });
});
