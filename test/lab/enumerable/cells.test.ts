import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { enumerateSequences } from '../../../lab/enumerable/enumerable-attacks.ts';
import { silentProgress } from '../../../src/base/progress.ts';
import { randomStream } from '../../../src/base/random.ts';
import { createAdamWState } from '../../../src/engine/optimizer/adamw.ts';
import { liveSessionLabels } from '../../../src/engine/runtime/session.ts';
import { type Attacker, type AttackerState, openAttacker } from '../../../src/learning/attacker.ts';
import { AskedBatches } from '../../../src/learning/loops/asked-batches.ts';
import { CellCalls } from '../../../src/learning/loops/cell-calls.ts';
import { trainGflownet } from '../../../src/learning/loops/gflownet.ts';
import { trainLikelihood } from '../../../src/learning/loops/likelihood.ts';
import { type Objective, slopeClips } from '../../../src/learning/objectives/objective.ts';
import { trajectoryBalance } from '../../../src/learning/objectives/trajectory-balance.ts';
import { varGrad } from '../../../src/learning/objectives/vargrad.ts';
import { createReplayBuffer } from '../../../src/learning/replay/replay-buffer.ts';
import type { RewardFunction } from '../../../src/learning/reward/reward.ts';
import type { LogZMode } from '../../../src/models/decoder/policy-graph.ts';
import { openPolicySession, type PolicySession } from '../../../src/models/decoder/policy-session.ts';
import { exactPosterior, totalVariation } from '../../../src/worlds/exact-sampler.ts';
import { writeInitialWeights } from '../../../src/worlds/pico-model.ts';
import { CONTROL_TOKENS, createWordTokenizer } from '../../../src/worlds/vocabulary.ts';

const WORDS = ['amber', 'birch', 'cedar', 'delta', 'ember', 'fern'];
const IDS = WORDS.map((_, i) => CONTROL_TOKENS.length + i);
const CELLS = ['amber', 'birch'] as const;
const MAX_TOKENS = 3;
const BETA = 0.5;
const SEQUENCES = enumerateSequences(IDS, { minTokens: 1, maxTokens: MAX_TOKENS });
const COMPUTE = { device: 'cpu', threads: 1 } as const;

let folder: string;
let attacker: Attacker;
let reference: Float32Array;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'floodgate-cells-'));
  const tokenizer = createWordTokenizer(WORDS);
  const contextTokens = MAX_TOKENS + 3;
  const shape = { width: 48, layers: 2, heads: 2, kvHeads: 2, headWidth: 24, feedForwardWidth: 192 };
  const rest = { vocabSize: tokenizer.vocabSize, maxPositions: contextTokens, normEpsilon: 1e-5 };
  const config = { family: 'gpt2', tiedEmbeddings: true, ...shape, ...rest } as const;
  const weights = await writeInitialWeights(config, path.join(folder, 'initial.safetensors'), 5);
  const cells = CELLS.map((name) => ({ name, text: name }));
  const trained = { config, weights, tokenizer, trainable: { kind: 'full' }, contextTokens } as const;
  attacker = await openAttacker(
    { ...trained, metaPrompt: '{cell}', cells, minTokens: 1, maxTokens: MAX_TOKENS },
    COMPUTE,
  );
  reference = await trainReference();
}, 60_000);
afterAll(async () => {
  await attacker.close();
  await rm(folder, { recursive: true });
  expect(liveSessionLabels()).toEqual([]);
});

function openPolicy(objective: Pick<Objective, 'usesLogZ' | 'pairClip' | 'rowClip'>): Promise<PolicySession> {
  const { config, weights, trainable, contextTokens } = attacker.spec;
  const logZ: LogZMode = objective.usesLogZ ? 'through-trunk' : 'none';
  const options = { config, weights, trainable, contextTokens, bans: attacker.bans, logZ, ...slopeClips(objective) };
  return openPolicySession(options, COMPUTE);
}

const control = (stage: string) => ({
  checkpoints: { folder: path.join(folder, stage), stage },
  checkpointEveryUpdates: 100_000,
  progress: silentProgress,
});

/** SFT on seeds of both cells: those of the first one hold early words, those of the other one late words. */
async function trainReference(): Promise<Float32Array> {
  const policy = await openPolicy({ usesLogZ: false });
  try {
    await attacker.initialise(policy.parameters, 1);
    const examples = Array.from({ length: 300 }, (_, i) => {
      const stream = randomStream(3, 'cell seed', i);
      const length = 1 + stream.nextInt(MAX_TOKENS);
      const late = i % 2;
      const pick = (): number => IDS[3 * (stream.nextFloat() < 0.8 ? late : 1 - late) + stream.nextInt(3)] as number;
      const attack = { tokens: Array.from({ length }, pick), terminated: length < MAX_TOKENS };
      return { row: attacker.rowOf(attack), weight: 1, cell: CELLS[late] as string };
    });
    const rate = { peak: 2e-3, warmupUpdates: 5, decay: 'linear', totalUpdates: 120 } as const;
    const options = { minTokens: 1, batchSize: 32, learningRate: rate, gradientClip: 1, weightDecay: 0, seed: 1 };
    await trainLikelihood(
      { policy, examples, validation: [] },
      { ...options, promptOf: (cell) => attacker.promptOf(cell), validateEveryUpdates: 1000 },
      {
        control: control('sft'),
        from: 0,
        optimizer: createAdamWState(policy.parameters.data.length),
        onUpdate: async () => false,
      },
    );
    return policy.parameters.data.slice();
  } finally {
    await policy.close();
  }
}

/** Mean P(unsafe) of an attack: high where a word follows the one before it in the vocabulary. */
function unsafeOf(tokens: readonly number[]): number {
  return tokens.some((token, i) => tokens[i + 1] === token + 1) ? 0.9 : 0.1;
}

const reward: RewardFunction<unknown> = async (requests) =>
  requests.map(({ text }) => {
    const meanUnsafe = unsafeOf(attacker.tokensOf(text).tokens);
    return { score: { logS: Math.log(meanUnsafe), meanUnsafe, responses: 1 }, evidence: undefined };
  });

async function logProbsIn(cell: string, state: AttackerState): Promise<number[]> {
  const scores = await attacker.score(
    state,
    SEQUENCES.map((attack) => ({ ...attack, cell })),
  );
  return scores.map((tokens) => tokens.reduce((sum, value) => sum + value, 0));
}

/** R(x) p_ref(x | c) over its sum, for every attack. */
async function posteriorOf(cell: string): Promise<Float64Array> {
  const vector = attacker.createParameters();
  vector.data.set(reference);
  const logPRef = await logProbsIn(cell, attacker.stateOf(vector));
  return exactPosterior(logPRef.map((logProb, i) => logProb + Math.log(unsafeOf(SEQUENCES[i]?.tokens ?? [])) / BETA))
    .probabilities;
}

async function train(objective: Objective, seed: number): Promise<number[][]> {
  const policy = await openPolicy(objective);
  try {
    policy.parameters.data.set(reference);
    const memory = () => ({ buffer: createReplayBuffer({ capacity: 400, nearEditRatio: null }) });
    const memories = new Map(CELLS.map((cell) => [cell as string, memory()]));
    const vector = attacker.createParameters();
    vector.data.set(reference);
    const updates = 700;
    const rate = (peak: number) =>
      ({ peak, warmupUpdates: 10, decay: 'linear', decayFrom: 0.4, totalUpdates: updates }) as const;
    const constant = { from: 1, to: 1, updates: 0 };
    const parts = {
      attacker,
      policy,
      reference: attacker.stateOf(vector),
      reward,
      openReward: () => ({ reward, settle: () => undefined }),
      asked: new AskedBatches<unknown>(),
      ...(memories.get(CELLS[0]) as ReturnType<typeof memory>),
      cells: { memories, calls: new CellCalls(CELLS, { rule: 'thompson', seed }) },
    };
    const behaviour = { freshShare: 0.5, temperedShare: 0.5, temperatures: { low: 0.5, high: 2 }, rewriteShare: 0 };
    const learning = { learningRate: rate(2e-3), logZLearningRate: rate(0.01), gradientClip: 1, weightDecay: 0 };
    const options = {
      ...{ objective, updates, batchSize: 64, accumulation: 1, updatesPerBatch: 2, askedAhead: 0, seed },
      ...{ ...behaviour, ...learning, rewriteChange: 0.3, rescoreReplay: false },
      replayBy: 'uniform',
      reward: { beta: BETA, gamma: constant, temperature: constant },
      fluency: { form: { kind: 'sum' }, minTokens: 1, shortPenalty: 0 },
      truncationPenalty: false,
    } as const;
    const optimizer = createAdamWState(policy.parameters.data.length);
    const stage = `${objective.name}-${seed}`;
    await trainGflownet(parts, options, { control: control(stage), from: 0, optimizer, onUpdate: async () => false });
    const state = attacker.stateOf(policy.parameters);
    return [await logProbsIn(CELLS[0], state), await logProbsIn(CELLS[1], state)];
  } finally {
    await policy.close();
  }
}

test.each([
  ['vargrad', varGrad()],
  ['tb', trajectoryBalance()],
])(
  '%s: in each cell the policy samples in proportion to R(x) p_ref(x | cell)',
  async (_name, objective) => {
    const exact = [await posteriorOf(CELLS[0]), await posteriorOf(CELLS[1])] as const;
    expect(totalVariation(...exact)).toBeGreaterThan(0.3);
    const learned = await train(objective, 1);
    const errors = learned.map((logProbs, i) => totalVariation(logProbs.map(Math.exp), exact[i] as Float64Array));
    for (const error of errors) expect(error).toBeLessThan(0.05);
  },
  120_000,
);
