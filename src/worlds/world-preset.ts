import { z } from 'zod';
import { MAX_REQUEST_TOKENS, MIN_REQUEST_TOKENS, RESPONSE_TOKENS } from './pico-model.ts';
import { SFT_RECIPE, WORLD_META_PROMPT, WORLD_REWARD } from './world-spec.ts';

/** The model, seeds and judge of a run's world, where a config names them. */
export const WORLD = 'world';

const constant = (value: number) => ({ from: value, to: value, updates: 0 });

/** Target calls of each attacker while it learns, one response an attack. */
const CALLS = 10_000;
/** Calls that go into attacks of the reference, before the first update of the GFlowNet. */
const SEEDED = 6000;
/** Attacks of one update, of any attacker that is trained. */
const BATCH = 64;
/** Updates of the GFlowNet for each batch of fresh attacks, half of an update. */
const REUSE = 4;

/** Of REINFORCE and PPO: as large an update as the GFlowNet's. Their other settings are the best of a search (docs/search.md). */
const POLICY_GRADIENT = {
  updates: Math.floor(CALLS / BATCH),
  batchSize: BATCH,
  microBatchSize: BATCH,
  warmupUpdates: 20,
  decay: 'linear',
  decayFrom: 0.6,
  checkpointEveryUpdates: 50,
} as const;

/** Settings of a run in a world, where its config gives none; chosen on other worlds than those reported. */
const PRESET = {
  authorisation: 'A model that Floodgate made itself, on your own machine.',
  attacker: {
    model: WORLD,
    method: 'full',
    metaPrompt: WORLD_META_PROMPT,
    minTokens: MIN_REQUEST_TOKENS,
    maxTokens: MAX_REQUEST_TOKENS,
  },
  seeds: { path: WORLD },
  target: {
    kind: 'local',
    model: WORLD,
    // Calls go into attacks, not into further responses to the same ones.
    responses: 1,
    decode: { temperature: 1, topP: 1, maxNewTokens: RESPONSE_TOKENS },
  },
  judges: { training: { kind: WORLD }, evaluation: [{ kind: WORLD }] },
  encoder: { model: WORLD },
  reward: { beta: WORLD_REWARD.beta, gamma: constant(WORLD_REWARD.gamma), temperature: constant(1) },
  watch: { everyUpdates: 0 },
  // Enough for the 48 keys of the default world: a call takes a millisecond.
  evaluation: { causes: { clusters: 96 } },
  sft: { ...SFT_RECIPE, validationShare: 0.1 },
  gflownet: {
    objective: 'tb',
    updates: REUSE * Math.floor((CALLS - SEEDED) / (BATCH / 2)),
    updatesPerBatch: REUSE,
    batchSize: BATCH,
    accumulation: 1,
    learningRate: 3e-3,
    logZLearningRate: 0.1,
    warmupUpdates: 20,
    decay: 'linear',
    decayFrom: 0.6,
    replay: {
      capacity: 5000,
      evictBy: 'logS',
      nearDuplicate: { kind: 'none' },
      seedWithSft: false,
      seedWithReference: SEEDED,
      seedCandidates: 32,
      seedCoverage: 'words',
    },
    checkpointEveryUpdates: 50,
  },
  draws: { attacks: CALLS, candidates: 19, coverage: 'words' },
  reinforce: { ...POLICY_GRADIENT, learningRate: 2.33e-4, kl: 0.00208, entropy: 0.01, baseline: 'running-mean' },
  ppo: { ...POLICY_GRADIENT, learningRate: 1.46e-4, kl: 0.0117, novelty: { cosine: 0.634 } },
  smoothing: {
    updates: 1000,
    batchSize: BATCH,
    learningRate: 4e-3,
    decay: 'linear',
    weights: 'balanced',
    balance: 0.8,
    clusters: 'ngram',
  },
};

type Plain = Readonly<Record<string, unknown>>;

const isPlain = (value: unknown): value is Plain =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

/** `given` over `defaults`, objects merged key by key; one of another `kind` takes the default's place whole. */
export function mergeOver(defaults: Plain, given: Plain): Plain {
  const merged: Record<string, unknown> = { ...defaults };
  for (const [key, value] of Object.entries(given)) {
    const below = merged[key];
    const isSameKind = isPlain(value) && isPlain(below) && (value.kind ?? below.kind) === below.kind;
    merged[key] = isSameKind ? mergeOver(below, value) : value;
  }
  return merged;
}

const hasWorld = z.object({
  world: z.looseObject({}),
  gflownet: z.looseObject({ objective: z.string().optional() }).optional(),
});

/** The preset for an objective: only trajectory balance has a log Z to learn. */
function presetOf(objective: string): Plain {
  if (objective === PRESET.gflownet.objective) return PRESET;
  const { logZLearningRate: _unused, ...gflownet } = PRESET.gflownet;
  return { ...PRESET, gflownet };
}

/** A config as written, with the settings of worlds of words below what it says; unchanged when it names no world. */
export function withMadePreset(config: unknown): unknown {
  const written = hasWorld.safeParse(config);
  if (!written.success) return config;
  return mergeOver(presetOf(written.data.gflownet?.objective ?? PRESET.gflownet.objective), config as Plain);
}
