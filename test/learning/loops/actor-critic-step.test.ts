import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parameterView } from '../../../src/engine/optimizer/flat-parameters.ts';
import { liveSessionLabels } from '../../../src/engine/runtime/session.ts';
import { scalarTensor } from '../../../src/engine/runtime/tensors.ts';
import { divideBySpread, generalisedAdvantages, leaveOneOut, whiten } from '../../../src/learning/loops/advantages.ts';
import {
  addPpoLosses,
  createPpoSums,
  nextKlCoefficient,
  type PpoTokens,
  ppoTargets,
} from '../../../src/learning/loops/ppo-loss.ts';
import { directWeights } from '../../../src/learning/objectives/objective.ts';
import { tokenRewards } from '../../../src/learning/reward/novelty-reward.ts';
import { type ActorCriticSession, openActorCriticSession } from '../../../src/models/decoder/actor-critic-session.ts';
import { openPolicySession } from '../../../src/models/decoder/policy-session.ts';
import { openScorer } from '../../../src/models/decoder/scorer.ts';
import {
  type GoldenTensor,
  goldenFloat32,
  goldenFloat64,
  readGolden,
  relativeError,
  transposed,
} from '../../support/golden-file.ts';
import { type Family, type GoldenStep, goldenModel, loadGoldenLora, parameterOfGolden } from './golden-step.ts';

const FP32_BOUND = 1e-5;
const compute = { device: 'cpu', threads: 1 } as const;

interface GoldenPpo {
  readonly settings: {
    kl: number;
    lambda: number;
    clipRange: number;
    valueClipRange: number;
    valueWeight: number;
    entropy: number;
  };
  readonly head: Record<string, GoldenTensor>;
  readonly scores: number[];
  readonly oldLogProbs: number[][];
  readonly referenceLogProbs: number[][];
  readonly oldValues: number[][];
  readonly values: number[][];
  readonly rewards: number[][];
  readonly rawAdvantages: number[][];
  readonly returns: number[][];
  readonly advantages: number[][];
  readonly policyLoss: number;
  readonly valueLoss: number;
  readonly clipFraction: number;
  readonly valueClipFraction: number;
  readonly approximateKl: number;
  readonly gradients: Record<string, GoldenTensor>;
}

interface GoldenPolicyGradient {
  readonly kl: number;
  readonly scores: number[];
  readonly logPRef: number[];
  readonly rewards: number[];
  readonly leaveOneOut: number[];
  readonly normalised: number[];
  readonly loss: number;
  readonly gradients: Record<string, GoldenTensor>;
  readonly klControl: {
    initial: number;
    target: number;
    horizon: number;
    batch: number;
    observed: number[];
    coefficients: number[];
  };
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'floodgate-actor-critic-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
  expect(liveSessionLabels()).toEqual([]);
});

type Trained = Pick<ActorCriticSession, 'parameters' | 'gradient'>;

/** max |g - g64| / max |g64| of each golden gradient. */
function gradientErrors(session: Trained, golden: Record<string, GoldenTensor>): Map<string, number> {
  const found = new Map<string, Float32Array>();
  let offset = 0;
  for (const { name, shape } of session.parameters.specs) {
    const size = shape.reduce((count, axis) => count * axis, 1);
    found.set(name, session.gradient.subarray(offset, offset + size));
    offset += size;
  }
  return new Map(
    Object.entries(golden).map(([goldenName, tensor]) => {
      const { name, isTransposed } = parameterOfGolden(goldenName);
      const values = goldenFloat64(tensor);
      const [rows = 1, columns = 1] = tensor.shape;
      const expected = isTransposed ? transposed(values, rows, columns) : values;
      return [goldenName, relativeError(found.get(name) as Float32Array, expected)];
    }),
  );
}

async function openGolden(family: Family, valueGradient: 'through-trunk' | 'head-only' = 'through-trunk') {
  const { model, config, weights } = await goldenModel(family, folder);
  const { inputs } = await readGolden<GoldenStep>('training', `${family}-step`);
  const golden = await readGolden<GoldenPpo>('training', `${family}-ppo`);
  const { clipRange, valueClipRange } = golden.settings;
  const rank = model.loraRank;
  const options = {
    config,
    weights,
    trainable: { kind: 'lora', spec: { rank, alpha: rank * model.loraScale, targets: 'all-linear' } },
    bans: { always: inputs.bannedIds, end: inputs.endIds },
    contextTokens: 16,
  } as const;
  const session = await openActorCriticSession({ ...options, valueGradient, clipRange, valueClipRange }, compute);
  loadGoldenLora(model, session.parameters);
  for (const [name, tensor] of Object.entries(golden.head))
    parameterView(session.parameters, name).set(goldenFloat32(tensor));
  const batch = { prompt: inputs.metaPrompt, rows: inputs.rows };
  return { session, golden, model, options, batch, targets: { minTokens: inputs.minLength } };
}

const ALL = [0, 1, 2, 3];
const tokensOf = (rows: readonly (readonly number[])[]): number => rows.reduce((sum, row) => sum + row.length, 0);

describe.each(['gpt2', 'llama'] as const)('a PPO step of %s equals float64 PyTorch', (family) => {
  test('from scores to advantages', async () => {
    const golden = await readGolden<GoldenPpo>('training', `${family}-ppo`);
    const { kl, entropy, lambda } = golden.settings;
    const rewards = golden.scores.map((score, i) =>
      tokenRewards(score, golden.oldLogProbs[i] as number[], golden.referenceLogProbs[i] as number[], { kl, entropy }),
    );
    const { advantages, returns } = generalisedAdvantages(rewards, golden.oldValues, { discount: 1, lambda });
    const white = whiten(advantages);
    for (const row of ALL) {
      expect(relativeError(rewards[row] as Float64Array, golden.rewards[row] as number[])).toBeLessThan(1e-12);
      expect(relativeError(advantages[row] as Float64Array, golden.rawAdvantages[row] as number[])).toBeLessThan(1e-12);
      expect(relativeError(returns[row] as Float64Array, golden.returns[row] as number[])).toBeLessThan(1e-12);
      expect(relativeError(white[row] as Float64Array, golden.advantages[row] as number[])).toBeLessThan(1e-9);
    }
  });

  test.each([{ micro: [ALL] }, { micro: [[0, 2, 3], [1]] }])(
    'losses, clipping and gradients, rows in micro-batches $micro',
    async ({ micro }) => {
      const { session, golden, batch, targets } = await openGolden(family);
      await using _ = session;
      const known: PpoTokens = golden;
      const sums = createPpoSums();
      session.clearGradient();
      for (const rows of micro) {
        const part = { prompt: batch.prompt, rows: rows.map((row) => batch.rows[row] as number[]) };
        const learnt = ppoTargets(known, rows, tokensOf(batch.rows), golden.settings);
        const now = await session.step(part, targets, learnt);
        addPpoLosses(sums, known, rows, now, golden.settings);
        for (const [i, row] of rows.entries())
          expect(relativeError(now.values[i] as Float32Array, golden.values[row] as number[])).toBeLessThan(FP32_BOUND);
      }
      const n = sums.tokens;
      expect(n).toBe(21);
      expect(relativeError([sums.policyLoss / n], [golden.policyLoss])).toBeLessThan(FP32_BOUND);
      expect(relativeError([sums.valueLoss / n], [golden.valueLoss])).toBeLessThan(FP32_BOUND);
      expect(relativeError([sums.approximateKl / n], [golden.approximateKl])).toBeLessThan(FP32_BOUND);
      expect(sums.clipped / n).toBeCloseTo(golden.clipFraction, 12);
      expect(sums.valueClipped / n).toBeCloseTo(golden.valueClipFraction, 12);
      const errors = gradientErrors(session, golden.gradients);
      expect(errors.size).toBe(session.parameters.specs.length);
      for (const [name, error] of errors) expect(error, name).toBeLessThan(FP32_BOUND);
    },
  );

  test('the forward pass gives the log-probs of the scorer and the values of the step', async () => {
    const { session, golden, batch, targets, options } = await openGolden(family);
    await using _ = session;
    const scorer = await openScorer({ ...options, trained: options.trainable }, compute);
    const state = { ...session.parameters.tensors, loraScale: scalarTensor(options.trainable.spec.alpha / 4) };
    const scores = await scorer.score(batch, targets.minTokens, state);
    await scorer.close();
    const now = await session.evaluate(batch, targets);
    for (const row of ALL) {
      expect([...(now.tokenLogProbs[row] as Float32Array)]).toEqual([...(scores[row] as Float32Array)]);
      expect(relativeError(now.values[row] as Float32Array, golden.values[row] as number[])).toBeLessThan(FP32_BOUND);
    }
    expect(Math.max(...session.gradient.map(Math.abs))).toBe(0);
  });
});

test('a value loss that stops at the head leaves the adapter alone and the head as it was', async () => {
  const { session, golden, batch, targets } = await openGolden('gpt2', 'head-only');
  await using _ = session;
  const still: PpoTokens = { ...golden, advantages: golden.advantages.map((row) => row.map(() => 0)) };
  await session.step(batch, targets, ppoTargets(still, ALL, tokensOf(batch.rows), golden.settings));
  for (const [name, error] of gradientErrors(session, golden.gradients)) {
    if (name.startsWith('value.')) expect(error, name).toBeLessThan(FP32_BOUND);
  }
  const head = session.parameters.specs
    .slice(-4)
    .reduce((sum, { shape }) => sum + shape.reduce((count, axis) => count * axis, 1), 0);
  expect(Math.max(...session.gradient.subarray(0, -head).map(Math.abs))).toBe(0);
});

test('a REINFORCE step equals float64 PyTorch: penalised rewards, leave-one-out baseline, gradient', async () => {
  const golden = await readGolden<GoldenPolicyGradient>('training', 'policy-gradient');
  const { logProbs: goldenLogPi } = await readGolden<GoldenStep>('training', 'gpt2-step');
  const rewards = golden.scores.map(
    (score, i) => score - golden.kl * ((goldenLogPi[i] as number) - (golden.logPRef[i] as number)),
  );
  expect(relativeError(rewards, golden.rewards)).toBeLessThan(1e-12);
  const advantages = leaveOneOut(rewards);
  expect(relativeError(advantages, golden.leaveOneOut)).toBeLessThan(1e-12);
  expect(relativeError(divideBySpread(advantages, rewards), golden.normalised)).toBeLessThan(1e-12);

  const { session: unused, options, batch, targets, model } = await openGolden('gpt2');
  await unused.close();
  const session = await openPolicySession({ ...options, logZ: 'none' }, compute);
  try {
    loadGoldenLora(model, session.parameters);
    const weights = directWeights(advantages.map((advantage) => -advantage / advantages.length));
    const { logProbs } = await session.step(batch, targets, new Float32Array(4), weights);
    const loss = -advantages.reduce((sum, a, i) => sum + a * (logProbs[i] as number), 0) / 4;
    expect(relativeError([loss], [golden.loss])).toBeLessThan(FP32_BOUND);
    for (const [name, error] of gradientErrors(session, golden.gradients)) expect(error, name).toBeLessThan(FP32_BOUND);
  } finally {
    await session.close();
  }
});

test('the adaptive KL coefficient follows Ziegler et al.', async () => {
  const { klControl } = await readGolden<GoldenPolicyGradient>('training', 'policy-gradient');
  const rule = { targetKl: klControl.target, horizon: klControl.horizon };
  let coefficient = klControl.initial;
  const found = klControl.observed.map((kl) => {
    coefficient = nextKlCoefficient(coefficient, rule, { kl, attacks: klControl.batch });
    return coefficient;
  });
  expect(relativeError(found, klControl.coefficients)).toBeLessThan(1e-12);
});
