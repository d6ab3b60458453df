import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { writeFileAtomically } from '../base/atomic-file.ts';
import { drawFromPool } from '../worlds/exact-sampler.ts';
import type { WeighedRequest } from '../worlds/posterior.ts';
import { type KnownWorld, measureRunWorld } from '../worlds/world-registry.ts';
import type { WorldTruth } from '../worlds/world-truth.ts';
import { checkpointFile, loadReference, SFT } from './checkpoints.ts';
import type { Campaign } from './stage.ts';

/** The posterior of this run's own reference and reward, and attacks drawn from it. */
interface RunPosterior {
  readonly truth: WorldTruth;
  readonly sample: readonly Omit<WeighedRequest, 'mass'>[];
}

/** Measured once a run, after SFT, under the target that the run attacks: a tuned one has a posterior of its own. */
async function loadRunPosterior(campaign: Campaign, world: KnownWorld, attacks: number): Promise<RunPosterior> {
  const file = checkpointFile(campaign.folder, 'world-posterior.json');
  if (existsSync(file)) {
    const stored = JSON.parse(await readFile(file, 'utf8')) as RunPosterior;
    if (stored.sample.length >= attacks) return stored;
  }
  const posterior = await measureRunPosterior(campaign, world, attacks);
  await writeFileAtomically(file, (handle) => handle.writeFile(JSON.stringify(posterior)));
  return posterior;
}

async function measureRunPosterior(campaign: Campaign, world: KnownWorld, attacks: number): Promise<RunPosterior> {
  const { attacker, attackerModel, targetModel, config, compute, io } = campaign;
  const { beta, gamma } = config.reward;
  const { truth, pool } = await measureRunWorld(world, {
    attacker,
    attackerModel,
    reference: await loadReference(campaign),
    targetModel,
    rule: { beta, gamma: gamma.to, responses: config.evaluation.responses },
    seed: config.seed,
    compute,
    ...io,
  });
  const sample = drawFromPool(pool, attacks, config.seed);
  return { truth, sample: sample.map(({ tokens, terminated, text }) => ({ tokens, terminated, text })) };
}

/** The truth of the run's world under its own reference and reward; undefined before there is a reference. */
export async function loadRunTruth(campaign: Campaign, world: KnownWorld): Promise<WorldTruth | undefined> {
  // `replay` comes before the warm-up: old attacks are asked first.
  if (!campaign.store.stages().some(({ name, status }) => name === SFT && status === 'done')) return undefined;
  return (await loadRunPosterior(campaign, world, campaign.config.evaluation.attacks)).truth;
}

/** Attacks of an exact sampler. */
export async function loadExactSample(
  campaign: Campaign,
  world: KnownWorld,
  attacks: number,
): Promise<RunPosterior['sample']> {
  return (await loadRunPosterior(campaign, world, attacks)).sample;
}
