import { z } from 'zod';
import { nonNegative } from '../base/config-fields.ts';
import { loadLatestCheckpoint } from '../learning/checkpoints/checkpoint-folder.ts';
import { finishPausing, finishSteps, mapInSteps } from '../metrics/steps.ts';
import { createKeyFinder, wordsOf } from './keys.ts';
import type { MeasuredRun, MeasuredWorld, WorldKind } from './known-world.ts';
import { MAX_REQUEST_TOKENS, MIN_REQUEST_TOKENS } from './pico-model.ts';
import { openWorldOutcomes } from './pico-target.ts';
import { measurePosterior } from './posterior.ts';
import { SEED_COUNT } from './request-grammar.ts';
import { openWorld, type World } from './world.ts';
import { withMadePreset } from './world-preset.ts';
import { DEFAULT_WORLD, WORLD_META_PROMPT, WORLD_RESPONSES, WORLD_REWARD, type WorldSpec } from './world-spec.ts';
import { summarise } from './world-truth.ts';

/** Seed of a world, of any kind. */
export const worldSeed = z
  .number()
  .int()
  .min(0)
  .max(2 ** 31 - 1);

const schema = z.strictObject({
  kind: z.literal('made').optional().describe('a tiny attacker and target over 94 words, trained here; the default'),
  seed: worldSeed.default(DEFAULT_WORLD.seed).describe('another seed is another world'),
  keys: z
    .number()
    .int()
    .min(24)
    .max(96)
    .multipleOf(24)
    .default(DEFAULT_WORLD.keys)
    .describe('planted keys; a multiple of 24'),
  noise: nonNegative.max(5).default(DEFAULT_WORLD.noise).describe('of the judge, in logits; 0 = none'),
  hardness: nonNegative
    .max(2.5)
    .default(DEFAULT_WORLD.hardness)
    .describe('how little the commonest keys leak: 1 - 0.4 x hardness'),
});

/** True of a run whose posterior is the one that its world was admitted by. */
async function isWorldsOwn(world: World, run: MeasuredRun): Promise<boolean> {
  const { attacker, attackerModel, reference, targetModel = world.target, rule } = run;
  const { beta, gamma } = WORLD_REWARD;
  const isItsRule = rule.beta === beta && rule.gamma === gamma && rule.responses === WORLD_RESPONSES;
  const isItsTarget = targetModel.sha256 === world.target.sha256;
  const { trainable, metaPrompt, minTokens, maxTokens } = attacker.spec;
  const isItsModel = attackerModel.sha256 === world.attacker.sha256 && trainable.kind === 'full';
  const areItsRequests =
    metaPrompt === WORLD_META_PROMPT && minTokens === MIN_REQUEST_TOKENS && maxTokens === MAX_REQUEST_TOKENS;
  if (!isItsRule || !isItsTarget || !isItsModel || !areItsRequests) return false;
  const own = attacker.createParameters();
  await loadLatestCheckpoint(world.ownReference, own);
  return own.data.every((value, i) => value === reference.data[i]);
}

/** Measured under the target that the run attacks: a tuned one has a posterior of its own. */
async function measure(world: World, run: MeasuredRun): Promise<MeasuredWorld> {
  if (await isWorldsOwn(world, run)) return { truth: world.truth, pool: await world.loadPool() };
  const { attacker, reference, targetModel, rule, seed, compute, progress, signal } = run;
  const scoring = { noise: world.spec.noise, responses: rule.responses };
  const outcomes = await openWorldOutcomes(targetModel ?? world.target, scoring, compute);
  const bar = progress.start('measure the world', undefined, 'replicates');
  try {
    const posterior = await measurePosterior(
      attacker,
      attacker.stateOf(reference),
      world.keys,
      { beta: rule.beta, gamma: rule.gamma, outcomes: outcomes.of },
      {
        seed,
        ...(signal === undefined ? {} : { signal }),
        onReplicate: (done, of) => bar.update(done, `of ${of}`),
      },
    );
    return { truth: summarise(world.keys, posterior), pool: posterior.pool };
  } finally {
    bar.finish();
    await outcomes.close();
  }
}

/** Worlds of 94 words whose keys are words: attacker, target and judge are made here (docs/proving-ground.md). */
export const madeKind: WorldKind<WorldSpec, World> = {
  name: 'made',
  schema,
  knowsLanguage: false,
  seedCount: SEED_COUNT,
  withPreset: withMadePreset,
  open: ({ seed, keys, noise, hardness }, options) => openWorld({ seed, keys, noise, hardness }, options),
  async heldBy({ keys }, texts, signal) {
    const finder = createKeyFinder(keys);
    const steps = mapInSteps(texts, (text) => finder.heldBy(wordsOf(text)));
    return signal === undefined ? finishSteps(steps) : finishPausing(steps, signal, 'find the planted keys');
  },
  harmlessSeeds({ keys, seeds }) {
    const finder = createKeyFinder(keys);
    return seeds.filter((seed) => finder.heldBy(wordsOf(seed)).length === 0);
  },
  measure,
};
