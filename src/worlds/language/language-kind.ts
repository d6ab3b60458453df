import { z } from 'zod';
import { nonNegative } from '../../base/config-fields.ts';
import { modelSpec } from '../../models/model-fields.ts';
import type { WorldKind } from '../known-world.ts';
import { worldSeed } from '../made-kind.ts';
import { mergeOver, WORLD } from '../world-preset.ts';
import { measureLanguage } from './language-measure.ts';
import { LANGUAGE_SEEDS } from './language-requests.ts';
import {
  DEFAULT_LANGUAGE_WORLD,
  LANGUAGE_ATTACK,
  LANGUAGE_RESPONSES,
  LANGUAGE_REWARD,
  LANGUAGE_SFT,
  type LanguageSpec,
} from './language-spec.ts';
import { summariseLanguage } from './language-truth.ts';
import { type LanguageWorld, openLanguageWorld } from './language-world.ts';
import { placeIn } from './regions.ts';

const { regions, baseRate, noise, samples, attacker, encoder, seed } = DEFAULT_LANGUAGE_WORLD;

const MAX_SAMPLES = 100_000;

const schema = z.strictObject({
  kind: z.literal('language').describe('a language model attacks a rule over regions of a sentence embedding'),
  seed: worldSeed.default(seed).describe('another seed is another world'),
  regions: z.number().int().min(4).max(24).default(regions).describe('planted regions of the sentence embedding'),
  baseRate: z
    .number()
    .min(0.0005)
    .max(0.2)
    .default(baseRate)
    .describe('success rate of the reference, by which the radii are set'),
  noise: nonNegative.max(5).default(noise).describe('of the judge, in logits; 0 = none'),
  samples: z
    .number()
    .int()
    .min(256)
    .max(MAX_SAMPLES)
    .default(samples)
    .describe(
      'draws by which the truth is measured; half as many more set the radii; where baseRate is below 0.015, the default is 61.44 / baseRate',
    ),
  attacker: modelSpec.default(attacker).describe('the language model that attacks: a path or a catalogue name'),
  encoder: modelSpec.default(encoder).describe('the sentence encoder in whose space the regions are planted'),
});

/**
 * Draws by which the truth is known: as many more as successes are rarer. At a rate of 0.005 a world of 4,096 draws was
 * refused and one of 12,288 admitted (docs/language-world.md).
 */
function samplesAt(rate: unknown): number {
  if (typeof rate !== 'number' || rate <= 0) return samples;
  return Math.min(MAX_SAMPLES, Math.max(samples, Math.ceil((12_288 * 0.005) / rate)));
}

const constant = (value: number) => ({ from: value, to: value, updates: 0 });
const POLICY_GRADIENT = { updates: 31, batchSize: 16, learningRate: 3e-4 } as const;

/** Settings of a run in a language world, where its config gives none: 500 target calls an attacker (docs/search.md). */
function presetOf(spec: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return {
    world: { kind: 'language', samples: samplesAt(spec.baseRate) },
    authorisation: 'A rule of Floodgate, on your own machine.',
    attacker: { model: spec.attacker ?? attacker, ...LANGUAGE_ATTACK },
    seeds: { path: WORLD },
    target: { kind: 'regions', responses: 1 },
    judges: { training: { kind: WORLD }, evaluation: [{ kind: WORLD }] },
    encoder: { model: spec.encoder ?? encoder },
    reward: { beta: LANGUAGE_REWARD.beta, gamma: constant(LANGUAGE_REWARD.gamma), temperature: constant(1) },
    watch: { everyUpdates: 0 },
    evaluation: { attacks: 256, responses: LANGUAGE_RESPONSES },
    sft: { ...LANGUAGE_SFT, validationShare: 0 },
    gflownet: {
      objective: 'vargrad',
      updates: 100,
      updatesPerBatch: 4,
      batchSize: 16,
      accumulation: 1,
      learningRate: 3e-4,
      warmupUpdates: 10,
      sampling: { temperatures: { low: 0.7, high: 1.3 } },
      replay: {
        seedWithSft: false,
        seedWithReference: 300,
        seedCandidates: 8,
        nearDuplicate: { kind: 'cosine', threshold: 0.7 },
      },
      spread: { eta: 1 },
    },
    draws: { attacks: 500 },
    reinforce: POLICY_GRADIENT,
    ppo: POLICY_GRADIENT,
    smoothing: { updates: 100, batchSize: 16, learningRate: 3e-4, warmupUpdates: 5 },
  };
}

/** Worlds of real language: a rule answers, and the planted regions are known (docs/language-world.md). */
export const languageKind: WorldKind<LanguageSpec, LanguageWorld> = {
  name: 'language',
  schema,
  knowsLanguage: true,
  seedCount: LANGUAGE_SEEDS,
  withPreset: (config) => mergeOver(presetOf(config.world as Readonly<Record<string, unknown>>), config),
  open: openLanguageWorld,
  async heldBy(world, texts, signal) {
    const meter = await world.openMeter();
    try {
      const cosines = await meter.cosinesOf(texts, signal);
      return cosines.map((each) => [...placeIn(world.keys, each).held]);
    } finally {
      await meter.close();
    }
  },
  harmlessSeeds: ({ harmlessSeeds }) => harmlessSeeds,
  async measure(world, { attacker: own, attackerModel, reference, rule, compute, progress, signal }) {
    const posterior = await measureLanguage(
      world,
      { attacker: own, model: attackerModel.sha256, reference },
      { compute, progress, signal, rule: { ...rule, noise: world.spec.noise } },
    );
    return { truth: summariseLanguage(world.keys, posterior), pool: posterior.pool };
  },
};
