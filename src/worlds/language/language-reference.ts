import { FloodgateError } from '../../base/errors.ts';
import { randomStream } from '../../base/random.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import { type Attacker, type AttackerSpec, openAttacker } from '../../learning/attacker.ts';
import type { LikelihoodExample } from '../../learning/loops/likelihood.ts';
import type { DecoderCheckpoint } from '../../models/checkpoint/checkpoint.ts';
import type { Trainable } from '../../models/decoder/declare-model.ts';
import { loraSection } from '../../models/model-fields.ts';
import { LANGUAGE_ATTACK } from './language-spec.ts';

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

/** Texts as examples of one weight each, in the order in which a run's SFT takes its seeds. */
export function seedExamples(attacker: Attacker, seeds: readonly string[], seed: number): LikelihoodExample[] {
  return randomStream(seed, 'seed split')
    .shuffle(seeds)
    .map((text) => attacker.tokensOf(text))
    .filter(({ tokens }) => tokens.length > 0)
    .map((attack) => ({ row: attacker.rowOf(attack), weight: 1 }));
}
