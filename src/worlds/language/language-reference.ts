import { FloodgateError } from '../../base/errors.ts';
import type { ProgressSink } from '../../base/progress.ts';
import { randomStream } from '../../base/random.ts';
import { createAdamWState } from '../../engine/optimizer/adamw.ts';
import type { ParameterVector } from '../../engine/optimizer/flat-parameters.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import { type Attacker, type AttackerSpec, openAttacker } from '../../learning/attacker.ts';
import { loadLatestCheckpoint } from '../../learning/checkpoints/checkpoint-folder.ts';
import { type LikelihoodExample, trainLikelihood } from '../../learning/loops/likelihood.ts';
import type { DecoderCheckpoint } from '../../models/checkpoint/checkpoint.ts';
import type { Trainable } from '../../models/decoder/declare-model.ts';
import { openPolicySession } from '../../models/decoder/policy-session.ts';
import { loraSection } from '../../models/model-fields.ts';
import { LANGUAGE_ATTACK } from './language-spec.ts';

export interface LanguageBuildOptions {
  /** Folder of the world: checkpoints and draws, from which a stopped build resumes. */
  readonly folder: string;
  readonly compute: ComputeOptions;
  readonly progress: ProgressSink;
  readonly signal?: AbortSignal | undefined;
}

/** The adapter of a world's own attackers: a config's default. */
export function languageAdapter(): Trainable {
  return { kind: 'lora', spec: loraSection.parse(undefined) };
}

/**
 * A world's own attacker: the model of its spec with the default adapter, prompt and lengths.
 * @throws FloodgateError `config` when its context is too short for them.
 */
export function openLanguageAttacker(model: DecoderCheckpoint, compute: ComputeOptions): Promise<Attacker> {
  const { config, weights, tokenizer } = model;
  const prompt = tokenizer.encode(LANGUAGE_ATTACK.metaPrompt, { addSpecial: true }).length;
  const needed = prompt + LANGUAGE_ATTACK.maxTokens;
  if (needed > config.maxPositions) {
    const what = `its context holds ${config.maxPositions} tokens, expected at least ${needed}`;
    throw new FloodgateError('config', `world.attacker: got ${model.spec}: ${what}`);
  }
  const contextTokens = Math.min(config.maxPositions, needed + 2);
  const spec = { config, weights, tokenizer, trainable: languageAdapter(), ...LANGUAGE_ATTACK, contextTokens };
  return openAttacker(spec, compute);
}

/** An attacker that runs a world's adapters on the base, prompt and lengths of another. */
export function openProposer(spec: AttackerSpec, compute: ComputeOptions): Promise<Attacker> {
  return openAttacker({ ...spec, trainable: languageAdapter() }, compute);
}

/** How one adapter is trained. */
export interface AdapterLesson {
  /** In checkpoints and random streams. */
  readonly stage: string;
  readonly seed: number;
  readonly examples: readonly LikelihoodExample[];
  readonly recipe: {
    readonly updates: number;
    readonly batchSize: number;
    readonly learningRate: number;
    readonly warmupUpdates: number;
  };
  /** The adapter that it starts from; a fresh one when absent. */
  readonly from?: ParameterVector;
}

/** Trains an adapter by maximum likelihood; a stopped training resumes. */
export async function trainAdapter(
  attacker: Attacker,
  lesson: AdapterLesson,
  options: LanguageBuildOptions,
): Promise<ParameterVector> {
  const { config, weights, trainable, contextTokens } = attacker.spec;
  const base = { config, weights, trainable, contextTokens, bans: attacker.bans, logZ: 'none' } as const;
  const policy = await openPolicySession(base, options.compute);
  const { stage, seed, examples, recipe, from } = lesson;
  const checkpoints = { folder: options.folder, stage };
  try {
    if (from === undefined) await attacker.initialise(policy.parameters, seed);
    else policy.parameters.data.set(from.data);
    const found = await loadLatestCheckpoint(checkpoints, policy.parameters);
    const { updates, batchSize, learningRate, warmupUpdates } = recipe;
    await trainLikelihood(
      { policy, examples, validation: [] },
      {
        prompt: attacker.prompt,
        minTokens: 0,
        batchSize,
        learningRate: { peak: learningRate, warmupUpdates, decay: 'constant', totalUpdates: updates },
        gradientClip: 1,
        weightDecay: 0,
        seed,
        validateEveryUpdates: updates,
      },
      {
        control: {
          checkpoints,
          checkpointEveryUpdates: updates,
          progress: options.progress,
          ...(options.signal === undefined ? {} : { signal: options.signal }),
        },
        from: found?.state.update ?? 0,
        optimizer: found?.state.optimizer ?? createAdamWState(policy.parameters.data.length),
        onUpdate: async ({ loss }) => {
          if (!Number.isFinite(loss)) throw new FloodgateError('model', `train ${stage}: the loss is ${loss}`);
          return false;
        },
      },
    );
    const trained = attacker.createParameters();
    trained.data.set(policy.parameters.data);
    return trained;
  } finally {
    await policy.close();
  }
}

/** Texts as examples of one weight each, in the order in which a run's SFT takes its seeds. */
export function seedExamples(attacker: Attacker, seeds: readonly string[], seed: number): LikelihoodExample[] {
  return randomStream(seed, 'seed split')
    .shuffle(seeds)
    .map((text) => attacker.tokensOf(text))
    .filter(({ tokens }) => tokens.length > 0)
    .map((attack) => ({ row: attacker.rowOf(attack), weight: 1 }));
}
