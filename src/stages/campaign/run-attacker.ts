import type { ComputeOptions } from '../../engine/runtime/device.ts';
import { type Attacker, openAttacker } from '../../learning/attacker.ts';
import type { DecoderCheckpoint } from '../../models/checkpoint/checkpoint.ts';
import type { Trainable } from '../../models/decoder/declare-model.ts';
import type { WeightStore } from '../../models/formats/weight-store.ts';
import type { Config } from '../config/config-schema.ts';

/** What an attacker of the run's config stands on; the config decides what is left out. */
export interface AttackerBase {
  readonly weights: WeightStore;
  readonly trainable: Trainable;
}

/** Positions that the attacker's graphs can hold: the meta-prompt, the attack, and one to spare for a cut attack's end. */
function attackerContext(config: Config, promptTokens: number, maxPositions: number): number {
  return Math.min(maxPositions, promptTokens + config.attacker.maxTokens + 2);
}

function trainableOf({ method, lora }: Config['attacker']): Trainable {
  if (method === 'full') return { kind: 'full' };
  return { kind: 'lora', spec: { rank: lora.rank, alpha: lora.alpha, targets: lora.targets } };
}

/** The attacker of a run's config on its opened model, or on another base of the same model. */
export async function openRunAttacker(
  config: Config,
  model: DecoderCheckpoint,
  compute: ComputeOptions,
  base: AttackerBase = { weights: model.weights, trainable: trainableOf(config.attacker) },
): Promise<Attacker> {
  const { metaPrompt, minTokens, maxTokens } = config.attacker;
  const { tokenizer } = model;
  const promptTokens = tokenizer.encode(metaPrompt, { addSpecial: true }).length;
  return openAttacker(
    {
      config: model.config,
      tokenizer,
      ...base,
      metaPrompt,
      minTokens,
      maxTokens,
      contextTokens: attackerContext(config, promptTokens, model.config.maxPositions),
    },
    compute,
  );
}
