import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { writeFileAtomically } from '../base/atomic-file.ts';
import { FloodgateError } from '../base/errors.ts';
import type { ProgressSink } from '../base/progress.ts';
import type { DecoderCheckpoint } from '../models/checkpoint.ts';
import type { ComputeOptions } from '../runtime/device.ts';
import { admissionProblems } from './admission.ts';
import { chooseKeys, type PlantedKey } from './choose-keys.ts';
import { writeInitialWeights } from './initial-weights.ts';
import { drawCandidates } from './key-candidates.ts';
import { measurePriors } from './key-priors.ts';
import { createKeyFinder, wordsOf } from './keys.ts';
import { PICO_CONFIG } from './pico-model.ts';
import { type BuildOptions, openPicoAttacker, trainReference } from './pico-reference.ts';
import { picoCheckpoint } from './pico-target.ts';
import { measurePosterior } from './posterior.ts';
import { createWordRanking } from './request-grammar.ts';
import { drawSeeds } from './seed-requests.ts';
import { createRequestSource } from './target-requests.ts';
import { TARGET_RECIPE, trainTarget } from './train-target.ts';
import { openWorldOutcomes } from './world-outcomes.ts';
import { WORLD_RESPONSES, WORLD_REWARD, WORLD_VERSION, type WorldSpec } from './world-spec.ts';
import { summarise, type WorldTruth } from './world-truth.ts';

/** A world, built and admitted: what was planted, and what is known of it. */
export interface World {
  readonly spec: WorldSpec;
  readonly keys: readonly PlantedKey[];
  readonly seeds: readonly string[];
  /** How many keys occur in at least one seed. */
  readonly keysInSeeds: number;
  /** As measured with the world's own reference at the rule of admission. */
  readonly truth: WorldTruth;
  /** An untrained attacker, and the trained target. */
  readonly attacker: DecoderCheckpoint;
  readonly target: DecoderCheckpoint;
}

export interface OpenWorldOptions {
  readonly cacheDir: string;
  readonly compute: ComputeOptions;
  readonly progress: ProgressSink;
  readonly signal?: AbortSignal;
}

interface WorldRecord {
  readonly spec: WorldSpec;
  readonly keys: readonly PlantedKey[];
  readonly seeds: readonly string[];
  readonly truth: WorldTruth;
}

/** Folder of a world in the cache: named by a hash of all that its bytes follow from. */
export function worldFolder(cacheDir: string, spec: WorldSpec): string {
  const content = JSON.stringify({ version: WORLD_VERSION, spec, target: TARGET_RECIPE, model: PICO_CONFIG });
  const hash = createHash('sha256').update(content).digest('hex').slice(0, 24);
  return path.join(cacheDir, 'worlds', `world-${spec.seed}-${hash}`);
}

/**
 * Opens the world of `spec`, building it first where the cache has none: seeds, reference, keys chosen by their measured
 * probability, target, truth. A build that was stopped goes on from its checkpoints.
 *
 * @throws FloodgateError `world` when the world is not fit to compare attackers in, with every reason.
 */
export async function openWorld(spec: WorldSpec, options: OpenWorldOptions): Promise<World> {
  const folder = worldFolder(options.cacheDir, spec);
  const file = path.join(folder, 'world.json');
  const record = existsSync(file)
    ? (JSON.parse(await readFile(file, 'utf8')) as WorldRecord)
    : await buildWorld(spec, { ...options, folder });
  const problems = admissionProblems(record.truth);
  if (problems.length > 0) {
    throw new FloodgateError('world', `open world ${spec.seed}: refused: ${problems.join('; ')}`, {
      hint: 'choose another --world-seed, fewer --keys or a lower --hardness',
    });
  }
  const finder = createKeyFinder(record.keys);
  const inSeeds = new Set(record.seeds.flatMap((seed) => finder.heldBy(wordsOf(seed))));
  return {
    ...record,
    keysInSeeds: inSeeds.size,
    attacker: await picoCheckpoint(path.join(folder, 'attacker.safetensors'), `world:${spec.seed}/attacker`),
    target: await picoCheckpoint(path.join(folder, 'target.safetensors'), `world:${spec.seed}/target`),
  };
}

async function buildWorld(spec: WorldSpec, options: BuildOptions): Promise<WorldRecord> {
  const { folder, compute, progress } = options;
  await mkdir(folder, { recursive: true });
  const ranking = createWordRanking(spec.seed);
  const groups = drawCandidates(spec, ranking);
  const seeds = drawSeeds(spec.seed, ranking, groups);
  const weights = await writeInitialWeights(PICO_CONFIG, path.join(folder, 'attacker.safetensors'), spec.seed);
  const attacker = await openPicoAttacker(weights, compute);
  try {
    const reference = await trainReference(attacker, seeds, { ...options, seed: spec.seed });
    const priors = await measurePriors(attacker, reference, groups, spec.seed);
    const keys = chooseKeys(groups, priors, spec);
    const source = createRequestSource(ranking, keys);
    const plan = { name: 'target', config: PICO_CONFIG, keys, source, recipe: TARGET_RECIPE, seed: spec.seed };
    const target = await picoCheckpoint(await trainTarget(plan, options), `world:${spec.seed}/target`);
    const outcomes = await openWorldOutcomes(target, { noise: spec.noise, responses: WORLD_RESPONSES }, compute);
    const bar = progress.start('measure the world', undefined, 'replicates');
    try {
      const rule = { ...WORLD_REWARD, outcomes: outcomes.of };
      const posterior = await measurePosterior(attacker, reference, keys, rule, {
        seed: spec.seed,
        onReplicate: (done, of) => bar.update(done, `of ${of}`),
      });
      const record: WorldRecord = { spec, keys, seeds, truth: summarise(keys, posterior) };
      await writeFileAtomically(path.join(folder, 'world.json'), (handle) =>
        handle.writeFile(`${JSON.stringify(record, null, 1)}\n`),
      );
      return record;
    } finally {
      bar.finish();
      await outcomes.close();
    }
  } finally {
    await attacker.close();
  }
}
