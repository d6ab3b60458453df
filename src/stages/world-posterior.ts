import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { writeFileAtomically } from '../base/atomic-file.ts';
import { drawFromPool } from '../worlds/exact-sampler.ts';
import { openWorldOutcomes } from '../worlds/pico-target.ts';
import { measurePosterior, type WeighedRequest } from '../worlds/posterior.ts';
import type { World } from '../worlds/world.ts';
import { summarise, type WorldTruth } from '../worlds/world-truth.ts';
import { checkpointFile, loadReference } from './checkpoints.ts';
import type { Campaign } from './stage.ts';

/** The posterior of this run's own reference and reward, and attacks drawn from it. */
interface RunPosterior {
  readonly truth: WorldTruth;
  readonly sample: readonly Omit<WeighedRequest, 'mass'>[];
}

/** Measured once a run, after SFT, under the target that the run attacks: a tuned one has a posterior of its own. */
async function loadRunPosterior(campaign: Campaign, world: World, attacks: number): Promise<RunPosterior> {
  const file = checkpointFile(campaign.folder, 'world-posterior.json');
  if (existsSync(file)) {
    const stored = JSON.parse(await readFile(file, 'utf8')) as RunPosterior;
    if (stored.sample.length >= attacks) return stored;
  }
  const posterior = await measureRunPosterior(campaign, world, attacks);
  await writeFileAtomically(file, (handle) => handle.writeFile(JSON.stringify(posterior)));
  return posterior;
}

async function measureRunPosterior(campaign: Campaign, world: World, attacks: number): Promise<RunPosterior> {
  const { attacker, config, compute, io } = campaign;
  const { beta, gamma } = config.reward;
  const outcomes = await openWorldOutcomes(
    campaign.targetModel ?? world.target,
    { noise: world.spec.noise, responses: config.evaluation.responses },
    compute,
  );
  const bar = io.progress.start('measure the world', undefined, 'replicates');
  try {
    const posterior = await measurePosterior(
      attacker,
      attacker.stateOf(await loadReference(campaign)),
      world.keys,
      { beta, gamma: gamma.to, outcomes: outcomes.of },
      { seed: config.seed, signal: io.signal, onReplicate: (done, of) => bar.update(done, `of ${of}`) },
    );
    const sample = drawFromPool(posterior.pool, attacks, config.seed);
    return {
      truth: summarise(world.keys, posterior),
      sample: sample.map(({ tokens, terminated, text }) => ({ tokens, terminated, text })),
    };
  } finally {
    bar.finish();
    await outcomes.close();
  }
}

/** The truth of the run's world under its own reference and reward. */
export async function loadRunTruth(campaign: Campaign, world: World): Promise<WorldTruth> {
  return (await loadRunPosterior(campaign, world, campaign.config.evaluation.attacks)).truth;
}

/** Attacks of an exact sampler. */
export async function loadExactSample(
  campaign: Campaign,
  world: World,
  attacks: number,
): Promise<RunPosterior['sample']> {
  return (await loadRunPosterior(campaign, world, attacks)).sample;
}
