import type { DecoderCheckpoint } from '../../models/checkpoint/checkpoint.ts';
import type { Divergence } from '../../models/decoder/divergence.ts';
import { openInt8Weights } from '../../models/decoder/int8-weights.ts';
import type { OpenModels } from '../../models/open-models.ts';
import type { ModelEntry } from '../../runs/manifest.ts';
import { createAttackEncoder } from '../../targets/local-prompt.ts';
import { openLocalTarget } from '../../targets/local-target.ts';
import { measureInt8 } from '../../targets/measure-int8.ts';
import { createScriptedTarget } from '../../targets/scripted-target.ts';
import type { Target } from '../../targets/target.ts';
import type { World } from '../../worlds/world.ts';
import type { Config } from '../config/config-schema.ts';
import { WORLD } from '../config/world-preset.ts';
import { openRunDecoder } from './open-run-models.ts';

/** The model under test, as attackers train against it and as evaluations ask it. */
export interface RunTarget {
  /** In the precision that the config says. */
  readonly training: Target;
  /** Always in fp32; the same object where training is too. */
  readonly evaluation: Target;
  readonly entries: readonly ModelEntry[];
  /** The model behind both; undefined for a script. */
  readonly model: DecoderCheckpoint | undefined;
  /** The training target in int8 against itself in fp32, on a few seeds; undefined in fp32. */
  readonly int8: Divergence | undefined;
  close(): Promise<void>;
}

export interface RunTargetParts {
  readonly attackerModel: DecoderCheckpoint;
  readonly world: World | undefined;
  readonly threads: number;
  /** Seed attacks, on which int8 is measured. */
  readonly seeds: readonly string[];
}

/** Opens the target of a run; close it when done. */
export async function openRunTarget(config: Config, models: OpenModels, parts: RunTargetParts): Promise<RunTarget> {
  const { target, seed } = config;
  if (target.kind === 'scripted') {
    const script = createScriptedTarget({ rules: target.rules, otherwise: target.otherwise, seed });
    return {
      training: script,
      evaluation: script,
      entries: [],
      model: undefined,
      int8: undefined,
      close: () => script.close(),
    };
  }
  const isAttacker = target.model === config.attacker.model && target.model !== WORLD;
  const checkpoint = isAttacker
    ? parts.attackerModel
    : await openRunDecoder(models, target.model, 'target', parts.world);
  const options = {
    checkpoint,
    template: target.template,
    seed,
    compute: { device: target.device, threads: parts.threads },
    ...(target.systemPrompt === undefined ? {} : { systemPrompt: target.systemPrompt }),
  };
  const evaluation = await openLocalTarget(options);
  const entries = [{ role: 'target', spec: checkpoint.spec, sha256: checkpoint.sha256 }];
  if (target.precision === 'fp32') {
    return {
      training: evaluation,
      evaluation,
      entries,
      model: checkpoint,
      int8: undefined,
      close: () => evaluation.close(),
    };
  }
  try {
    const store = await openInt8Weights(checkpoint.config, checkpoint.weights);
    const int8 = { store, activation: 'per-tensor' } as const;
    const divergence = await measureInt8(
      checkpoint,
      int8,
      parts.seeds.map(createAttackEncoder(options)),
      options.compute,
    );
    const training = await openLocalTarget({ ...options, int8 });
    const close = async (): Promise<void> => {
      await training.close();
      await evaluation.close();
    };
    return { training, evaluation, entries, model: checkpoint, int8: divergence, close };
  } catch (error) {
    await evaluation.close();
    throw error;
  }
}
