import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { FloodgateError } from '../../src/base/errors.ts';
import { randomStream } from '../../src/base/random.ts';
import type { ParameterVector } from '../../src/engine/optimizer/flat-parameters.ts';
import type { ComputeOptions } from '../../src/engine/runtime/device.ts';
import type { AttackTokens } from '../../src/learning/attack.ts';
import { type Attacker, type AttackerState, openAttacker } from '../../src/learning/attacker.ts';
import type { JudgeScore, RewardFunction } from '../../src/learning/reward/reward.ts';
import type { Gpt2Config } from '../../src/models/checkpoint/decoder-config.ts';
import type { LogZMode } from '../../src/models/decoder/policy-graph.ts';
import { openPolicySession, type PolicySession } from '../../src/models/decoder/policy-session.ts';
import { exactPosterior } from '../../src/worlds/exact-sampler.ts';
import { writeInitialWeights } from '../../src/worlds/pico-model.ts';
import { CONTROL_TOKENS, createWordTokenizer } from '../../src/worlds/vocabulary.ts';
import { type AlarmRule, enumerateSequences, leakiestKey, type PairKey, plantPairKeys } from './enumerable-attacks.ts';
import { trainEnumerableReference } from './enumerable-reference.ts';

const WORDS = 'amber birch cedar delta ember fern grove harbor iris jade kite lemon maple nectar olive pearl'.split(
  ' ',
);

/** Scores of a graded judge for an unsafe and for a safe response. */
const UNSAFE_SCORE = 0.95;
const SAFE_SCORE = 0.05;

/** The end token is banned as the first token: an attack says something. */
const MIN_TOKENS = 1;

/** An attacker of this width and depth learns a world of 10 words in seconds. */
const SHAPE = { width: 48, layers: 2, heads: 2 } as const;

export interface EnumerableWorldOptions extends AlarmRule {
  readonly seed: number;
  /** Size of the vocabulary, 2 to 16. */
  readonly words: number;
  /** Attacks have 1 to this many words; those that reach it are cut there. */
  readonly maxTokens: number;
  readonly beta: number;
  /** Updates of SFT that make the reference; 0 leaves it nearly uniform. */
  readonly referenceUpdates: number;
  readonly compute: ComputeOptions;
}

/** 11,110 sequences, six keys: the world in which the sampler is proved (docs/exactness.md). */
export const ENUMERABLE_DEFAULTS: Omit<EnumerableWorldOptions, 'seed'> = {
  words: 10,
  maxTokens: 4,
  keys: 6,
  leaks: { low: 0.6, high: 1 },
  falseAlarms: 0,
  beta: 0.3,
  referenceUpdates: 150,
  compute: { device: 'cpu', threads: 1 },
};

/** Sampled responses to an attack, and how many of them were unsafe; 0 of 0 for the exact reward. */
export interface AlarmCount {
  readonly unsafe: number;
  readonly responses: number;
}

/** A world whose attacks can all be listed, so that every truth about it is a sum. All arrays lie in `sequences`' order. */
export interface EnumerableWorld {
  readonly options: EnumerableWorldOptions;
  readonly attacker: Attacker;
  /** The frozen reference p_ref, and its weights. */
  readonly reference: AttackerState;
  readonly referenceParameters: ParameterVector;
  readonly wordIds: readonly number[];
  readonly keys: readonly PairKey[];
  /** Every attack that the sampler can write. */
  readonly sequences: readonly AttackTokens[];
  /** log p_ref of each sequence under the sampler's own rules; the probabilities sum to 1. */
  readonly logPRef: Float64Array;
  /** Probability that one response to the sequence is unsafe. */
  readonly alarmProbabilities: Float64Array;
  /** log p_ref + E logS / beta of each sequence. */
  readonly logRewards: Float64Array;
  /** R / Z of each sequence. */
  readonly posterior: Float64Array;
  /** log of the sum of all rewards. */
  readonly logZ: number;
  /** Noise-free: the mean score of infinitely many responses. */
  readonly reward: RewardFunction<AlarmCount>;
  /** The scores of `responses` sampled responses; each draws from the world's seed and the request's stream name. */
  sampledReward(responses: number): RewardFunction<AlarmCount>;
  /** Position in `sequences`. @throws FloodgateError `usage` for tokens that are no attack of this world. */
  indexOf(tokens: readonly number[]): number;
  alarmProbabilityOf(tokens: readonly number[]): number;
  /** Index into `keys` of the leakiest key that the attack holds; undefined where it holds none. */
  keyOf(tokens: readonly number[]): number | undefined;
  /** log-prob of every sequence under a state of the attacker: its distribution, exactly. */
  logProbsOf(state: AttackerState): Promise<Float64Array>;
  /** A training session that starts at the reference. Whoever opens it closes it. */
  openPolicy(objective: {
    readonly logZ: LogZMode;
    readonly pairClip?: number;
    readonly rowClip?: number;
  }): Promise<PolicySession>;
  /** Scratch folder, gone after `close`: for checkpoints. */
  readonly folder: string;
  close(): Promise<void>;
}

function decoderConfig(vocabSize: number, contextTokens: number): Gpt2Config {
  const { width, layers, heads } = SHAPE;
  return {
    family: 'gpt2',
    vocabSize,
    width,
    layers,
    heads,
    kvHeads: heads,
    headWidth: width / heads,
    feedForwardWidth: 4 * width,
    maxPositions: contextTokens,
    normEpsilon: 1e-5,
    tiedEmbeddings: true,
  };
}

/** Rows scored at once: bounds the logits and hidden states. */
const SCORED_ROWS = 2048;

async function logProbsOf(
  attacker: Attacker,
  state: AttackerState,
  sequences: readonly AttackTokens[],
): Promise<Float64Array> {
  const logProbs = new Float64Array(sequences.length);
  for (let start = 0; start < sequences.length; start += SCORED_ROWS) {
    const scores = await attacker.score(state, sequences.slice(start, start + SCORED_ROWS));
    for (const [i, tokens] of scores.entries()) logProbs[start + i] = tokens.reduce((sum, value) => sum + value, 0);
  }
  return logProbs;
}

/** E logS and the mean score of an attack that this share of responses is unsafe to. */
function scoreOf(unsafeShare: number, responses: number): JudgeScore {
  const mix = (unsafe: number, safe: number): number => unsafeShare * unsafe + (1 - unsafeShare) * safe;
  return {
    logS: mix(Math.log(UNSAFE_SCORE), Math.log(SAFE_SCORE)),
    meanUnsafe: mix(UNSAFE_SCORE, SAFE_SCORE),
    responses,
  };
}

async function openAttackerIn(folder: string, options: EnumerableWorldOptions): Promise<Attacker> {
  const tokenizer = createWordTokenizer(WORDS.slice(0, options.words));
  const contextTokens = options.maxTokens + 1; // the start token before the attack
  const config = decoderConfig(tokenizer.vocabSize, contextTokens);
  const weights = await writeInitialWeights(config, path.join(folder, 'initial.safetensors'), options.seed);
  return openAttacker(
    {
      config,
      weights,
      tokenizer,
      trainable: { kind: 'full' },
      metaPrompt: '',
      minTokens: MIN_TOKENS,
      maxTokens: options.maxTokens,
      contextTokens,
    },
    options.compute,
  );
}

/** All that follows from the options alone, before any model is opened. */
interface Plan {
  readonly options: EnumerableWorldOptions;
  readonly wordIds: readonly number[];
  readonly keys: readonly PairKey[];
  readonly sequences: readonly AttackTokens[];
}

/** @throws FloodgateError `config` when the options make no enumerable world. */
function planWorld(options: EnumerableWorldOptions): Plan {
  if (options.words < 2 || options.words > WORDS.length) {
    throw new FloodgateError(
      'config',
      `enumerable world: got ${options.words} words, expected between 2 and ${WORDS.length}`,
    );
  }
  const wordIds = Array.from({ length: options.words }, (_, i) => CONTROL_TOKENS.length + i);
  return {
    options,
    wordIds,
    keys: plantPairKeys(wordIds, options, options.seed),
    sequences: enumerateSequences(wordIds, { minTokens: MIN_TOKENS, maxTokens: options.maxTokens }),
  };
}

/** The truths that need no model: where each attack lies, and how often it alarms. */
function alarmTruths({ options, keys, sequences }: Plan) {
  const keyOf = (tokens: readonly number[]): number | undefined => leakiestKey(tokens, keys);
  const alarmProbabilities = Float64Array.from(sequences, ({ tokens }) => {
    const key = keyOf(tokens);
    return key === undefined ? options.falseAlarms : (keys[key] as PairKey).leak;
  });
  const positions = new Map(sequences.map(({ tokens }, i) => [tokens.join(), i]));
  const indexOf = (tokens: readonly number[]): number => {
    const index = positions.get(tokens.join());
    if (index !== undefined) return index;
    throw new FloodgateError('usage', `enumerable world: tokens [${tokens.join()}] are no attack of this world`);
  };
  const alarmProbabilityOf = (tokens: readonly number[]): number => alarmProbabilities[indexOf(tokens)] as number;
  return { keyOf, alarmProbabilities, indexOf, alarmProbabilityOf };
}

type Rewards = Pick<EnumerableWorld, 'reward' | 'sampledReward'>;

function createRewards(seed: number, leakOf: (text: string) => number): Rewards {
  return {
    reward: async (requests) =>
      requests.map(({ text }) => ({ score: scoreOf(leakOf(text), 1), evidence: { unsafe: 0, responses: 0 } })),
    sampledReward: (responses) => async (requests) =>
      requests.map(({ text, streamName }) => {
        const stream = randomStream(seed, 'enumerable response', ...streamName);
        const leak = leakOf(text);
        const unsafe = Array.from({ length: responses }, () => stream.nextFloat() < leak).filter(Boolean).length;
        return { score: scoreOf(unsafe / responses, responses), evidence: { unsafe, responses } };
      }),
  };
}

async function describeWorld(plan: Plan, attacker: Attacker, folder: string): Promise<EnumerableWorld> {
  const { options, sequences, wordIds } = plan;
  const { seed, compute, beta, referenceUpdates } = options;
  const referenceParameters = await trainEnumerableReference(attacker, wordIds, {
    updates: referenceUpdates,
    seed,
    folder,
    compute,
  });
  const reference = attacker.stateOf(referenceParameters);
  const logPRef = await logProbsOf(attacker, reference, sequences);
  const truths = alarmTruths(plan);
  const logRewards = logPRef.map(
    (logProb, i) => logProb + scoreOf(truths.alarmProbabilities[i] as number, 1).logS / beta,
  );
  const { probabilities, logZ } = exactPosterior(logRewards);
  return {
    ...plan,
    ...truths,
    ...createRewards(seed, (text) => truths.alarmProbabilityOf(attacker.tokensOf(text).tokens)),
    attacker,
    folder,
    reference,
    referenceParameters,
    logPRef,
    logRewards,
    posterior: probabilities,
    logZ,
    logProbsOf: (state) => logProbsOf(attacker, state, sequences),
    openPolicy: async (objective) => {
      const { config, weights, trainable, contextTokens } = attacker.spec;
      const policy = await openPolicySession(
        { config, weights, trainable, contextTokens, bans: attacker.bans, ...objective },
        compute,
      );
      policy.parameters.data.set(referenceParameters.data); // a log Z head lies behind and starts at zero
      return policy;
    },
    close: async () => {
      await attacker.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/**
 * Opens a world whose every attack can be listed: a tiny attacker over a few words, a reference trained in-process, pair
 * keys with known leaks, and the exact posterior. The same options give the same world; close it when done.
 *
 * @throws FloodgateError `config` when the options make no such world.
 */
export async function openEnumerableWorld(
  overrides: Partial<EnumerableWorldOptions> & Pick<EnumerableWorldOptions, 'seed'>,
): Promise<EnumerableWorld> {
  const plan = planWorld({ ...ENUMERABLE_DEFAULTS, ...overrides });
  const folder = await mkdtemp(path.join(tmpdir(), 'floodgate-world-'));
  const attacker = await openAttackerIn(folder, plan.options);
  return describeWorld(plan, attacker, folder);
}
