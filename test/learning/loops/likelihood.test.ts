import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { silentProgress } from '../../../src/base/progress.ts';
import { createAdamWState } from '../../../src/engine/optimizer/adamw.ts';
import { zeroParameters } from '../../../src/engine/optimizer/flat-parameters.ts';
import { loadLatestCheckpoint } from '../../../src/learning/checkpoints/checkpoint-folder.ts';
import {
  type LikelihoodExample,
  type LikelihoodOptions,
  type LikelihoodRow,
  type LikelihoodUpdate,
  trainLikelihood,
} from '../../../src/learning/loops/likelihood.ts';
import type { PolicySession } from '../../../src/models/decoder/policy-session.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'floodgate-likelihood-'));
});
afterEach(() => rm(folder, { recursive: true }));

interface Step {
  readonly prompt: readonly number[];
  readonly rows: readonly (readonly number[])[];
  readonly minTokens: number | undefined;
  readonly weights: readonly number[];
}

/** A policy with one number w: log pi of a row is w minus the sum of its tokens. */
function fakePolicy() {
  const steps: Step[] = [];
  const parameters = zeroParameters([{ name: 'w', shape: [1], init: 'zeros' }]);
  const gradient = new Float32Array(1);
  const fake: Pick<PolicySession, 'parameters' | 'gradient' | 'clearGradient' | 'step' | 'close'> = {
    parameters,
    gradient,
    clearGradient: () => void gradient.fill(0),
    step: async ({ prompt, rows }, { minTokens }, logRewards, { directWeight, pairWeight, rowWeight }) => {
      expect([...logRewards, ...pairWeight, ...rowWeight].every((value) => value === 0)).toBe(true);
      steps.push({ prompt, rows, minTokens, weights: [...directWeight] });
      for (const weight of directWeight) gradient[0] = (gradient[0] as number) + weight; // d/dw of log pi is 1
      const w = parameters.data[0] as number;
      return { logProbs: Float32Array.from(rows, (row) => w - row.reduce((a, b) => a + b, 0)), logZ: 0 };
    },
    close: async () => undefined,
  };
  return { policy: fake as PolicySession, steps };
}

const EXAMPLES: readonly LikelihoodExample[] = [1, 2, 3, 4, 5].map((token) => ({ row: [token, 9], weight: 1 }));

const optionsOf = (totalUpdates: number, changes: Partial<LikelihoodOptions> = {}): LikelihoodOptions => ({
  promptOf: (cell) => (cell === undefined ? [7] : [7, cell.length]),
  minTokens: 3,
  batchSize: 2,
  learningRate: { peak: 0.1, warmupUpdates: 0, decay: 'constant', totalUpdates },
  gradientClip: 10,
  weightDecay: 0,
  seed: 1,
  validateEveryUpdates: 100,
  ...changes,
});

/** Trains a fake policy; resumes from a checkpoint of the folder where there is one. */
async function train(
  options: LikelihoodOptions,
  given: {
    examples?: readonly LikelihoodExample[];
    validation?: readonly LikelihoodRow[];
    stopAfter?: number;
    name?: string;
  },
) {
  const { policy, steps } = fakePolicy();
  const checkpoints = { folder: path.join(folder, given.name ?? 'run'), stage: 'sft' };
  const found = await loadLatestCheckpoint(checkpoints, policy.parameters);
  const updates: LikelihoodUpdate[] = [];
  const done = await trainLikelihood(
    { policy, examples: given.examples ?? EXAMPLES, validation: given.validation ?? [] },
    options,
    {
      control: { checkpoints, checkpointEveryUpdates: 1000, progress: silentProgress },
      from: found?.state.update ?? 0,
      optimizer: found?.state.optimizer ?? createAdamWState(1),
      onUpdate: async (update) => {
        updates.push(update);
        return update.update + 1 === given.stopAfter;
      },
    },
  );
  return { done, updates, steps, value: policy.parameters.data[0] as number };
}

const firstTokens = (steps: readonly Step[]): number[] =>
  steps.flatMap(({ rows }) => rows.map(([token]) => token as number));

test('an update is one step on the mean -log pi of its tokens, after the prompt and under the end rule', async () => {
  const examples = [
    { row: [1, 1, 1], weight: 1 },
    { row: [2, 2, 2, 2, 2], weight: 1 },
  ];
  const { done, updates, steps, value } = await train(optionsOf(1), { examples });
  expect(done).toBe(1);
  expect(steps).toHaveLength(1);
  expect(steps[0]).toMatchObject({ prompt: [7], minTokens: 3, weights: [Math.fround(-1 / 8), Math.fround(-1 / 8)] });
  expect(updates).toEqual([
    { update: 0, loss: (3 + 10) / 8, gradientNorm: expect.closeTo(2 / 8, 6), tokens: 8, seconds: expect.any(Number) },
  ]);
  expect(value).toBeCloseTo(0.1, 6); // AdamW's first step: the learning rate, against the gradient
});

describe('the examples of an update', () => {
  test('come in epochs where all weigh the same: every example once before any comes again', async () => {
    const { steps } = await train(optionsOf(15), {});
    const drawn = firstTokens(steps);
    expect(drawn).toHaveLength(30);
    const epochs = Array.from({ length: 6 }, (_, epoch) => drawn.slice(5 * epoch, 5 * epoch + 5));
    for (const epoch of epochs) expect([...epoch].sort()).toEqual([1, 2, 3, 4, 5]);
    expect(new Set(epochs.map(String)).size).toBeGreaterThan(1);
  });

  test('fill a batch that is larger than all of them', async () => {
    const { steps } = await train(optionsOf(1, { batchSize: 12 }), {});
    const counts = [1, 2, 3, 4, 5].map((token) => firstTokens(steps).filter((drawn) => drawn === token).length);
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(12);
    for (const count of counts) expect(count === 2 || count === 3).toBe(true);
  });

  test('come by weight, with replacement, where weights differ', async () => {
    const weights = [0.5, 0.3, 0.2, 0, 1e-9];
    const examples = EXAMPLES.map((example, i) => ({ ...example, weight: weights[i] as number }));
    const { steps } = await train(optionsOf(100, { batchSize: 40 }), { examples });
    const drawn = firstTokens(steps);
    const shareOf = (token: number): number => drawn.filter((each) => each === token).length / drawn.length;
    for (const [i, weight] of weights.entries()) {
      const deviation = Math.sqrt((weight * (1 - weight)) / drawn.length);
      expect(Math.abs(shareOf(i + 1) - weight)).toBeLessThanOrEqual(4 * deviation + 1e-3);
    }
    expect(shareOf(4)).toBe(0);
  });

  test('are others with another seed', async () => {
    const first = await train(optionsOf(6), { name: 'one' });
    const second = await train(optionsOf(6, { seed: 2 }), { name: 'two' });
    expect(firstTokens(second.steps)).not.toEqual(firstTokens(first.steps));
  });
});

test('the validation loss is measured every so many updates and at the end, in batches, and teaches nothing', async () => {
  const validation = [[1, 1], [3, 3, 3], [2]];
  const validated = await train(optionsOf(5, { validateEveryUpdates: 2 }), {
    validation: validation.map((row) => ({ row })),
    name: 'validated',
  });
  const plain = await train(optionsOf(5), { name: 'plain' });
  expect(validated.updates.map(({ validationLoss }) => validationLoss !== undefined)).toEqual([
    false,
    true,
    false,
    true,
    true,
  ]);
  const last = validated.updates.at(-1)?.validationLoss;
  expect(last).toBeCloseTo((2 + 9 + 2 - 3 * validated.value) / 6, 5); // nats a token, at the new parameters
  const measuring = validated.steps.filter(({ weights }) => weights.every((weight) => weight === 0));
  expect(measuring.map(({ rows }) => rows)).toEqual([0, 1, 2].flatMap(() => [validation.slice(0, 2), [[2]]]));
  expect(validated.value).toBe(plain.value);
  expect(plain.updates.every((update) => !('validationLoss' in update))).toBe(true);
});

test('stopped twice and continued, it is the uninterrupted training bit for bit', async () => {
  const weights = [3, 2, 1, 1, 1];
  const examples = EXAMPLES.map((example, i) => ({ ...example, weight: weights[i] as number }));
  const withoutClock = ({ seconds: _clock, ...rest }: LikelihoodUpdate) => rest;
  for (const [name, given] of [
    ['equal', {}],
    ['weighted', { examples }],
  ] as const) {
    const whole = await train(optionsOf(7), { ...given, name: `${name}-whole` });
    const cut = { ...given, name: `${name}-cut` };
    const pieces = [
      await train(optionsOf(7), { ...cut, stopAfter: 2 }),
      await train(optionsOf(7), { ...cut, stopAfter: 5 }),
      await train(optionsOf(7), cut),
    ];
    expect(pieces.map(({ done }) => done)).toEqual([2, 5, 7]);
    expect(pieces.flatMap(({ steps }) => steps)).toEqual(whole.steps);
    expect(pieces.flatMap(({ updates }) => updates).map(withoutClock)).toEqual(whole.updates.map(withoutClock));
    expect(pieces[2]?.value).toBe(whole.value);
  }
});

describe('examples of several cells', () => {
  const ofCell = (cell: string, token: number, count: number, weight = 1): LikelihoodExample[] =>
    Array.from({ length: count }, () => ({ row: [token], weight, cell }));
  /** The cell of each step by its prompt, and the tokens of its rows. */
  const stepCells = (steps: readonly Step[]) => steps.map(({ prompt, rows }) => [prompt[1], ...new Set(rows.flat())]);

  test('each batch is of one cell, after its prompt, in proportion to its examples', async () => {
    const examples = [...ofCell('a', 1, 12), ...ofCell('bb', 2, 4)];
    const { steps } = await train(optionsOf(40, { batchSize: 2 }), { examples, name: 'cells' });
    const cells = stepCells(steps);
    expect(cells.every(([length, ...tokens]) => tokens.length === 1 && tokens[0] === length)).toBe(true);
    expect(cells.filter(([length]) => length === 2)).toHaveLength(10);
    const order = cells.map(([length]) => length).join('');
    expect(order).not.toBe('1'.repeat(30) + '2'.repeat(10)); // rounds, each in a random order
    for (let round = 0; round < 5; round++) expect(order.slice(8 * round, 8 * round + 8)).toMatch(/^(1*2){2}1*$/);
  });

  test('in one round every example of a cell is learned once', async () => {
    const tokens = [3, 4, 5, 6, 7, 8];
    const examples = tokens.map((token) => ({ row: [token], weight: 1, cell: 'a' }));
    const { steps } = await train(optionsOf(10, { batchSize: 2 }), {
      examples: [...examples, ...ofCell('bb', 2, 4)],
      name: 'round',
    });
    const ofA = (from: number) => firstTokens(steps.slice(from, from + 5).filter(({ prompt }) => prompt[1] === 1));
    expect(ofA(0).sort()).toEqual(tokens);
    expect(ofA(5).sort()).toEqual(tokens);
  });

  test('weights decide how many batches a cell gets; a resume draws the same ones', async () => {
    const examples = [...ofCell('a', 1, 4, 3), ...ofCell('bb', 2, 12, 1)];
    const whole = await train(optionsOf(16, { batchSize: 2 }), { examples, name: 'weights' });
    const cells = stepCells(whole.steps);
    expect(cells.filter(([length]) => length === 1)).toHaveLength(8); // a has half of all weight
    await train(optionsOf(16, { batchSize: 2 }), { examples, name: 'stopped', stopAfter: 5 });
    const resumed = await train(optionsOf(16, { batchSize: 2 }), { examples, name: 'stopped' });
    expect(stepCells(resumed.steps)).toEqual(cells.slice(5));
  });

  test('the validation loss is that of each row after the prompt of its cell', async () => {
    const validation = [
      { row: [1], cell: 'a' },
      { row: [2], cell: 'bb' },
      { row: [1], cell: 'a' },
    ];
    const given = { examples: [...ofCell('a', 1, 2), ...ofCell('bb', 2, 2)], validation, name: 'validation' };
    const { steps } = await train(optionsOf(1, { validateEveryUpdates: 1 }), given);
    const measuring = steps.filter(({ weights }) => weights.every((weight) => weight === 0));
    expect(measuring.map(({ prompt, rows }) => [prompt, rows])).toEqual([
      [
        [7, 1],
        [[1], [1]],
      ],
      [[7, 2], [[2]]],
    ]);
  });
});
