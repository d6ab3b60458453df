import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parameterView } from '../../../src/engine/optimizer/flat-parameters.ts';
import { liveSessionLabels } from '../../../src/engine/runtime/session.ts';
import { contrastiveBalance } from '../../../src/learning/objectives/contrastive-balance.ts';
import { directWeights, type OnePassObjective, slopeClips } from '../../../src/learning/objectives/objective.ts';
import { trajectoryBalance } from '../../../src/learning/objectives/trajectory-balance.ts';
import { varGrad } from '../../../src/learning/objectives/vargrad.ts';
import { openPolicySession, type PolicySession } from '../../../src/models/decoder/policy-session.ts';
import { readSafetensors } from '../../../src/models/formats/safetensors.ts';
import { goldenFloat32, goldenFloat64, readGolden, relativeError, transposed } from '../../support/golden-file.ts';
import {
  type Family,
  type GoldenGradients,
  type GoldenStep,
  goldenModel,
  loadGoldenLora,
  parameterOfGolden,
} from './golden-step.ts';

const FP32_BOUND = 1e-5;
const compute = { device: 'cpu', threads: 2 } as const;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'floodgate-step-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
  expect(liveSessionLabels()).toEqual([]);
});

/** Worst error over every golden gradient, each as max |g - g64| / max |g64|. */
function gradientErrors(
  session: PolicySession,
  golden: GoldenGradients,
  gradient = session.gradient,
): Map<string, number> {
  const errors = new Map<string, number>();
  let offset = 0;
  const found = new Map<string, Float32Array>();
  for (const { name, shape } of session.parameters.specs) {
    const size = shape.reduce((count, n) => count * n, 1);
    found.set(name, gradient.subarray(offset, offset + size));
    offset += size;
  }
  for (const [goldenName, tensor] of Object.entries(golden.gradients)) {
    const { name, isTransposed } = parameterOfGolden(goldenName);
    const values = goldenFloat64(tensor);
    const [rows = 1, columns = 1] = tensor.shape;
    const expected = isTransposed ? transposed(values, rows, columns) : values;
    const actual = found.get(name);
    if (actual === undefined) {
      // VarGrad and CTB have no log Z head: its golden gradient must be zero.
      expect(goldenName).toMatch(/^logZ/);
      expect(Math.max(...values.map(Math.abs))).toBe(0);
      continue;
    }
    errors.set(name, relativeError(actual, expected));
  }
  return errors;
}

async function openStep(family: Family, objective: OnePassObjective) {
  const { model, config, weights } = await goldenModel(family, folder);
  const step = await readGolden<GoldenStep>('training', `${family}-step`);
  const { inputs } = step;
  const session = await openPolicySession(
    {
      config,
      weights,
      trainable: {
        kind: 'lora',
        spec: { rank: model.loraRank, alpha: model.loraRank * model.loraScale, targets: 'all-linear' },
      },
      bans: { always: inputs.bannedIds, end: inputs.endIds },
      contextTokens: 16,
      logZ: objective.usesLogZ ? 'through-trunk' : 'none',
      ...slopeClips(objective),
    },
    compute,
  );
  loadGoldenLora(model, session.parameters);
  if (objective.usesLogZ) {
    parameterView(session.parameters, 'logZ.weight').set(goldenFloat32(model.logZ.weight));
    parameterView(session.parameters, 'logZ.bias').set(goldenFloat32(model.logZ.bias));
  }
  return {
    session,
    step,
    batch: { prompt: inputs.metaPrompt, rows: inputs.rows },
    targets: { minTokens: inputs.minLength },
  };
}

const objectives: readonly OnePassObjective[] = [
  trajectoryBalance(),
  varGrad(),
  contrastiveBalance({ sigma: 0.5, huber: 1 }),
];

describe.each(['gpt2', 'llama', 'gemma3'] as const)('a LoRA step of %s equals float64 PyTorch', (family) => {
  test.each(objectives)('$name, in one pass', async (objective) => {
    const { session, step, batch, targets } = await openStep(family, objective);
    await using _ = { [Symbol.asyncDispose]: () => session.close() };
    const golden = await readGolden<GoldenGradients>('training', `${family}-${objective.name}`);
    const logRewards = Float32Array.from(step.inputs.logRewards);
    const result = await session.step(batch, targets, logRewards, objective.batchWeights(logRewards));
    expect(relativeError(result.logProbs, step.logProbs)).toBeLessThan(FP32_BOUND);
    if (objective.usesLogZ) expect(Math.abs(result.logZ - step.logZ)).toBeLessThan(FP32_BOUND);
    const loss = objective.loss(result.logProbs, logRewards, result.logZ);
    expect(Math.abs(loss - golden.loss) / golden.loss).toBeLessThan(FP32_BOUND);
    const errors = gradientErrors(session, golden);
    expect(errors.size).toBeGreaterThan(15);
    for (const [name, error] of errors) expect(error, name).toBeLessThan(FP32_BOUND);
  });

  test.each(objectives)('$name, accumulated over two micro-batches', async (objective) => {
    const { session, step, batch, targets } = await openStep(family, objective);
    await using _ = { [Symbol.asyncDispose]: () => session.close() };
    const golden = await readGolden<GoldenGradients>('training', `${family}-${objective.name}`);
    const logRewards = step.inputs.logRewards;
    const gradient = objective.gradient(step.logProbs, logRewards, step.logZ);
    expect(relativeError(gradient, golden.deltaGradient)).toBeLessThan(1e-9);
    // dL/dlogZ flows only through the rows' weights, so trajectory balance keeps its row weights under accumulation.
    for (const [from, to] of [
      [0, 3],
      [3, 4],
    ] as const) {
      const rewards = Float32Array.from(logRewards.slice(from, to));
      const weights = directWeights(gradient.slice(from, to));
      if (objective.usesLogZ) {
        weights.directWeight.fill(0);
        weights.rowWeight.fill(2 / logRewards.length);
      }
      await session.step({ prompt: batch.prompt, rows: batch.rows.slice(from, to) }, targets, rewards, weights);
    }
    for (const [name, error] of gradientErrors(session, golden)) expect(error, name).toBeLessThan(FP32_BOUND);
  });

  test('likelihood of every weight (full-parameter fine-tuning)', async () => {
    const { config, weights } = await goldenModel(family, folder);
    const { inputs } = await readGolden<GoldenStep>('training', `${family}-step`);
    const golden = await readGolden<GoldenGradients & { tokens: number }>('training', `${family}-sft`);
    await using session = await openFull(config, weights);
    const stored = await readSafetensors(weights.path);
    for (const [name, { data }] of stored.tensors) parameterView(session.parameters, name).set(data);
    const n = inputs.rows.length;
    const result = await session.step(
      { prompt: inputs.metaPrompt, rows: inputs.rows },
      { minTokens: 0 },
      new Float32Array(n),
      directWeights(new Float32Array(n).fill(-1 / golden.tokens)),
    );
    const loss = -result.logProbs.reduce((sum, logProb) => sum + logProb, 0) / golden.tokens;
    expect(Math.abs(loss - golden.loss) / golden.loss).toBeLessThan(FP32_BOUND);
    const errors = gradientErrors(session, golden);
    expect(errors.size).toBe(weights.tensors.size);
    for (const [name, error] of errors) expect(error, name).toBeLessThan(FP32_BOUND);
  });
});

/** Trajectory balance whose log Z is 0, so that no gradient flows into it. */
const withoutHead = (huber: number): OnePassObjective => ({ ...trajectoryBalance({ huber }), usesLogZ: false });

describe('bounded residuals in the graph', () => {
  test.each([
    ['tb', withoutHead],
    ['vargrad', (huber: number): OnePassObjective => varGrad({ huber })],
  ])('%s: in one pass, the step is that of the slopes of its loss', async (_name, create) => {
    const objective = create(2);
    const { session, step, batch, targets } = await openStep('llama', objective);
    await using _ = { [Symbol.asyncDispose]: () => session.close() };
    const logRewards = Float32Array.from(step.inputs.logRewards);
    const slopes = objective.gradient(step.logProbs, logRewards, 0);
    const unbounded = create(1e9).gradient(step.logProbs, logRewards, 0);
    expect(relativeError(slopes, unbounded), 'the bound is reached').toBeGreaterThan(0.1);
    await session.step(batch, targets, logRewards, objective.batchWeights(logRewards));
    const inOnePass = session.gradient.slice();
    session.clearGradient();
    await session.step(batch, targets, logRewards, directWeights(slopes));
    expect(relativeError(inOnePass, session.gradient)).toBeLessThan(FP32_BOUND);
  });

  test('tb: log Z has the sum of the bounded slopes', async () => {
    const objective = trajectoryBalance({ huber: 2 });
    const { session, step, batch, targets } = await openStep('llama', objective);
    await using _ = { [Symbol.asyncDispose]: () => session.close() };
    const logRewards = Float32Array.from(step.inputs.logRewards);
    const slopes = objective.gradient(step.logProbs, logRewards, step.logZ);
    await session.step(batch, targets, logRewards, objective.batchWeights(logRewards));
    const total = slopes.reduce((sum, slope) => sum + slope, 0);
    expect(session.gradient.at(-1)).toBeCloseTo(total, 5); // the bias of log Z is the last parameter
  });
});

async function openFull(
  ...[config, weights]: [
    Parameters<typeof openPolicySession>[0]['config'],
    Parameters<typeof openPolicySession>[0]['weights'],
  ]
) {
  const session = await openPolicySession(
    {
      config,
      weights,
      trainable: { kind: 'full' },
      bans: { always: [], end: [] },
      contextTokens: 16,
      logZ: 'none',
    },
    compute,
  );
  return Object.assign(session, { [Symbol.asyncDispose]: () => session.close() });
}
