import { existsSync } from 'node:fs';
import { copyFile, mkdir } from 'node:fs/promises';
import path from 'node:path';
import { FloodgateError } from '../base/errors.ts';
import { withLock } from '../base/lock.ts';
import { append } from '../base/long-lists.ts';
import type { ProgressSink } from '../base/progress.ts';
import type { ComputeOptions } from '../engine/runtime/device.ts';
import type { CheckpointFolder } from '../learning/checkpoints/checkpoint-folder.ts';
import type { DecoderCheckpoint } from '../models/checkpoint/checkpoint.ts';
import { sha256OfFile } from '../models/sources/file-hash.ts';
import { chooseKeys, drawCandidates, type PlantedKey } from './choose-keys.ts';
import { measurePriors } from './key-priors.ts';
import { createKeyFinder, wordsOf } from './keys.ts';
import { PICO_CONFIG, TARGET_CONFIG, writeInitialWeights } from './pico-model.ts';
import { openPicoAttacker, REFERENCE, trainReference } from './pico-reference.ts';
import { openWorldOutcomes, outcomeOf, picoCheckpoint, type WorldOutcomes, type WorldScoring } from './pico-target.ts';
import { type Posterior, type WeighedRequest, weighPosterior } from './posterior.ts';
import { draftPosterior, type PosteriorDrafts } from './posterior-drafts.ts';
import { createWordRanking, drawSeeds, type WordRanking } from './request-grammar.ts';
import { createRequestSource } from './target-requests.ts';
import { teachUntilFit } from './teach-until-fit.ts';
import { CORRECTION_RECIPE, findWrongAnswers, leakOf, TARGET_RECIPE, trainTarget } from './train-target.ts';
import {
  damagedWorld,
  readRefusal,
  readWorldPool,
  readWorldRecord,
  type WorldRecord,
  worldFolder,
  writeRefusal,
  writeWorldPool,
  writeWorldRecord,
} from './world-file.ts';
import type { BuildOptions } from './world-lesson.ts';
import { WORLD_RESPONSES, WORLD_REWARD, type WorldSpec } from './world-spec.ts';
import { admissionProblems, hopelessProblems, summarise, type WorldTruth } from './world-truth.ts';

/** A world, built and admitted: its planted keys and the truth about it. */
export interface World {
  readonly spec: WorldSpec;
  readonly keys: readonly PlantedKey[];
  readonly seeds: readonly string[];
  /** How many keys occur in at least one seed. */
  readonly keysInSeeds: number;
  /** As measured with the world's own reference at the rule of admission. */
  readonly truth: WorldTruth;
  readonly ownReference: CheckpointFolder;
  /** The requests by which the truth was measured; in the cache. @throws FloodgateError `format` when damaged. */
  loadPool(): Promise<readonly WeighedRequest[]>;
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

/**
 * Opens the world of `spec`, building it first where the cache has none: seeds, reference, keys chosen by their measured
 * probability, target, truth. A stopped build resumes from its checkpoints.
 *
 * @throws FloodgateError `world` with every reason when the world cannot compare attackers.
 */
export async function openWorld(spec: WorldSpec, options: OpenWorldOptions): Promise<World> {
  const folder = worldFolder(options.cacheDir, spec);
  const record = (await cachedRecord(spec, folder)) ?? (await buildOnce(spec, { ...options, folder }));
  const problems = admissionProblems(record.truth);
  if (problems.length > 0) throw refusal(spec, problems);
  const finder = createKeyFinder(record.keys);
  const inSeeds = new Set(record.seeds.flatMap((seed) => finder.heldBy(wordsOf(seed))));
  const { keys, seeds, truth } = record;
  const [attacker, target] = [await openModel(folder, record, 'attacker'), await openModel(folder, record, 'target')];
  return {
    spec: record.spec,
    keys,
    seeds,
    keysInSeeds: inSeeds.size,
    truth,
    ownReference: { folder, stage: REFERENCE },
    loadPool: () => readWorldPool(folder),
    attacker,
    target,
  };
}

function refusal(spec: WorldSpec, problems: readonly string[]): FloodgateError {
  return new FloodgateError('world', `open world ${spec.seed}: refused: ${problems.join('; ')}`, {
    hint: 'choose another --world-seed, fewer --keys or a lower --hardness',
  });
}

/** @throws FloodgateError `world` for a world that was refused before it had a target. */
async function cachedRecord(spec: WorldSpec, folder: string): Promise<WorldRecord | undefined> {
  const problems = await readRefusal(folder);
  if (problems !== undefined) throw refusal(spec, problems);
  return readWorldRecord(folder);
}

/** @throws FloodgateError `format` when the weights are not those that were recorded. */
async function openModel(folder: string, record: WorldRecord, role: 'attacker' | 'target'): Promise<DecoderCheckpoint> {
  const file = path.join(folder, `${role}.safetensors`);
  if (!existsSync(file)) throw damagedWorld(folder, `${file} is missing`);
  const config = role === 'target' ? TARGET_CONFIG : PICO_CONFIG;
  const checkpoint = await picoCheckpoint(file, `world:${record.spec.seed}/${role}`, config);
  if (checkpoint.sha256 === record.sha256[role]) return checkpoint;
  throw damagedWorld(folder, `${file} is not the file that was written`);
}

/** Builds the world while no other process does; a process that waited finds it built. */
function buildOnce(spec: WorldSpec, options: BuildOptions): Promise<WorldRecord> {
  const { folder, signal, progress } = options;
  const onWait = (pid: number): void =>
    progress.start(`wait for process ${pid}, which builds this world`, undefined, '').finish();
  return withLock(`${folder}.lock`, { signal, onWait }, async () => {
    const cached = await cachedRecord(spec, folder);
    if (cached !== undefined) return cached;
    progress.say?.(`build world ${spec.seed}: minutes, once; then it is in the cache`);
    return await buildWorld(spec, options).catch(explainInterrupt);
  });
}

/** No run exists yet that could be resumed: the command itself continues the world. */
function explainInterrupt(error: unknown): never {
  if (!(error instanceof FloodgateError) || error.code !== 'interrupted') throw error;
  const hint = 'the same command builds the world on from its last checkpoint';
  throw new FloodgateError('interrupted', error.message, { hint, cause: error });
}

async function buildWorld(spec: WorldSpec, options: BuildOptions): Promise<WorldRecord> {
  const { folder } = options;
  await mkdir(folder, { recursive: true });
  const ranking = createWordRanking(spec.seed);
  const groups = drawCandidates(spec, ranking);
  const seeds = drawSeeds(spec.seed, ranking, groups);
  const weights = await writeInitialWeights(PICO_CONFIG, path.join(folder, 'attacker.safetensors'), spec.seed);
  const attacker = await openPicoAttacker(weights, options.compute);
  try {
    const reference = await trainReference(attacker, seeds, { ...options, seed: spec.seed });
    const priors = await measurePriors(attacker, reference, groups, { ...options, seed: spec.seed });
    const keys = chooseKeys(groups, priors, spec);
    const drafts = draftPosterior({ attacker, reference, keys, seed: spec.seed });
    const lesson = { spec, ranking, keys, drafts };
    const problems = hopelessProblems(summarise(keys, await measureWorld(lesson, intendedOutcomes(lesson), options)));
    if (problems.length > 0) {
      await writeRefusal(folder, problems);
      throw refusal(spec, problems);
    }
    const truth = await teachTarget(lesson, options);
    const [untrained, taught] = await Promise.all(
      ['attacker', 'target'].map((role) => sha256OfFile(path.join(folder, `${role}.safetensors`))),
    );
    const sha256 = { attacker: untrained as string, target: taught as string };
    const record: WorldRecord = { spec, keys, seeds, truth, sha256 };
    await writeWorldRecord(folder, record);
    return record;
  } finally {
    await attacker.close();
  }
}

interface Lesson {
  readonly spec: WorldSpec;
  readonly ranking: WordRanking;
  readonly keys: readonly PlantedKey[];
  /** The requests on which every target of this world is measured. */
  readonly drafts: PosteriorDrafts;
}

const scoringOf = ({ noise }: WorldSpec): WorldScoring => ({ noise, responses: WORLD_RESPONSES });

/** Outcomes under a target that has learned its leaks exactly. */
function intendedOutcomes({ spec, keys }: Lesson): WorldOutcomes['of'] {
  const finder = createKeyFinder(keys);
  return async (texts) => texts.map((text) => outcomeOf(text, leakOf(wordsOf(text), keys, finder), scoringOf(spec)));
}

/** Further lessons for a target before its world is given up. */
const MAX_FURTHER_LESSONS = 3;

interface TaughtTarget {
  readonly file: string;
  readonly truth: WorldTruth;
  readonly pool: readonly WeighedRequest[];
}

/**
 * Trains the target, with lessons on its wrong answers, until the world can be admitted. Writes its weights and the
 * requests by which it was measured, and returns the truth.
 */
async function teachTarget(lesson: Lesson, options: BuildOptions): Promise<WorldTruth> {
  const { spec, ranking, keys, drafts } = lesson;
  const { attacker, reference } = drafts.source;
  // Kept over all lessons: a lesson on the newest wrong answers alone unlearns the older ones.
  const hard: string[][] = [];
  const teach = async (further: number, from: TaughtTarget | undefined): Promise<TaughtTarget> => {
    const source = createRequestSource(ranking, keys, hard);
    const recipe = from === undefined ? { recipe: TARGET_RECIPE } : { recipe: CORRECTION_RECIPE, from: from.file };
    const plan = { config: TARGET_CONFIG, keys, seed: spec.seed, name: `target-${further}`, source, ...recipe };
    const file = await trainTarget(plan, options);
    const target = await picoCheckpoint(file, `world:${spec.seed}/target`, TARGET_CONFIG);
    const outcomes = await openWorldOutcomes(target, scoringOf(spec), options.compute);
    try {
      const posterior = await measureWorld(lesson, outcomes.of, options);
      const truth = summarise(keys, posterior);
      const problems = admissionProblems(truth);
      if (problems.length > 0 && further < MAX_FURTHER_LESSONS) {
        const reason = `world ${spec.seed} is not fit yet: ${problems.join('; ')}`;
        options.progress.say?.(`${reason}; further lesson ${further + 1} of at most ${MAX_FURTHER_LESSONS}`);
        const search = { ...options, seed: spec.seed + further + 1 };
        append(hard, await findWrongAnswers(attacker, reference, keys, outcomes, search));
      }
      return { file, truth, pool: posterior.pool };
    } finally {
      await outcomes.close();
    }
  };
  const { file, truth, pool } = await teachUntilFit(teach, MAX_FURTHER_LESSONS);
  await copyFile(file, path.join(options.folder, 'target.safetensors'));
  await writeWorldPool(options.folder, pool);
  return truth;
}

async function measureWorld(
  { drafts }: Lesson,
  outcomes: WorldOutcomes['of'],
  { progress, signal }: BuildOptions,
): Promise<Posterior> {
  const bar = progress.start('measure the world', undefined, 'replicates');
  try {
    return await weighPosterior(
      drafts,
      { ...WORLD_REWARD, outcomes },
      {
        onReplicate: (done, of) => bar.update(done, `of ${of}`),
        ...(signal === undefined ? {} : { signal }),
      },
    );
  } finally {
    bar.finish();
  }
}

/** @throws FloodgateError `config` when a config names the world's model or judge without a world. */
export function requireWorld(world: World | undefined, what: string): World {
  if (world !== undefined) return world;
  throw new FloodgateError('config', `${what}: it names the world, but the config has none`, {
    hint: 'add world: {}',
  });
}
