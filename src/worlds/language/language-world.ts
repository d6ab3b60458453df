import { mkdir } from 'node:fs/promises';
import { FloodgateError } from '../../base/errors.ts';
import { withLock } from '../../base/lock.ts';
import type { Attacker } from '../../learning/attacker.ts';
import type { CheckpointFolder } from '../../learning/checkpoints/checkpoint-folder.ts';
import type { LikelihoodExample } from '../../learning/loops/likelihood.ts';
import type { DecoderCheckpoint } from '../../models/checkpoint/checkpoint.ts';
import { createOpenModels, type OpenModels } from '../../models/open-models.ts';
import type { OpenWorldOptions } from '../world.ts';
import { type BuildOptions, trainLesson } from '../world-lesson.ts';
import {
  type DrawSource,
  drawRequests,
  type LanguageDraw,
  PROPOSAL,
  referenceDraws,
  referenceSha256,
} from './language-draws.ts';
import {
  type LanguageModels,
  type LanguageRecord,
  languageFolder,
  readLanguageRecord,
  writeLanguageRecord,
} from './language-file.ts';
import { weighLanguage } from './language-posterior.ts';
import { openLanguageAttacker, seedExamples } from './language-reference.ts';
import { drawLanguageSeeds, drawPlanted, requestsAbout } from './language-requests.ts';
import {
  LANGUAGE_RESPONSES,
  LANGUAGE_REWARD,
  LANGUAGE_SFT,
  type LanguageSpec,
  PROPOSAL_RECIPES,
} from './language-spec.ts';
import { languageProblems, summariseLanguage } from './language-truth.ts';
import { type CentreMeter, createCentreMeter, fitRegions, placeIn, type Region, wantedRegions } from './regions.ts';
import type { Topic } from './topics.ts';

/** A language world, measured and admitted: its regions and the truth about them. */
export interface LanguageWorld extends LanguageRecord {
  /** Folder in the cache: adapters and draws. */
  readonly folder: string;
  readonly models: LanguageModels;
  readonly ownReference: CheckpointFolder;
  /** Opens the encoder with the centres of the regions. Close it when done. */
  openMeter(): Promise<CentreMeter>;
}

/** The stages of a build, in checkpoints. The first has the name of a run's warm-up, so that both learn alike. */
const REFERENCE = 'sft';
const FIRST_PROPOSAL = 'proposal-1';

/**
 * Opens the language world of `spec`, measuring it first where the cache has none: seeds, reference, proposal, radii,
 * truth. A stopped build resumes from its checkpoints and batches.
 *
 * @throws FloodgateError `world` with every reason when the world cannot compare attackers; `source` when a model is not
 * on this machine.
 */
export async function openLanguageWorld(spec: LanguageSpec, options: OpenWorldOptions): Promise<LanguageWorld> {
  const { cacheDir, compute, progress } = options;
  const models = createOpenModels({ cacheDir, threads: compute.threads, progress });
  const attacker = await models.openDecoder(spec.attacker, 'attacker');
  const encoderSha256 = await encoderOf(models, spec, async ({ entry }) => entry.sha256);
  const shas = { attacker: attacker.sha256, encoder: encoderSha256 };
  const folder = languageFolder(cacheDir, spec, shas);
  const record =
    (await readLanguageRecord(folder)) ?? (await buildOnce({ spec, models, attacker }, { ...options, folder }));
  const problems = languageProblems(spec, record.keys, record.truth);
  if (problems.length > 0) throw refusal(spec, problems);
  const phrases = record.keys.map(({ phrase }) => phrase);
  const openMeter = async (): Promise<CentreMeter> =>
    createCentreMeter((await models.openEncoder(spec.encoder, 'cpu')).encoder, phrases);
  return { ...record, spec, folder, models: shas, ownReference: { folder, stage: REFERENCE }, openMeter };
}

function refusal({ seed }: LanguageSpec, problems: readonly string[]): FloodgateError {
  return new FloodgateError('world', `open language world ${seed}: refused: ${problems.join('; ')}`, {
    hint: 'choose another world.seed, more world.samples, fewer world.regions or a higher world.baseRate',
  });
}

async function encoderOf<T>(
  models: OpenModels,
  { encoder: model }: LanguageSpec,
  use: (opened: Awaited<ReturnType<OpenModels['openEncoder']>>) => Promise<T>,
): Promise<T> {
  const opened = await models.openEncoder(model, 'cpu');
  try {
    return await use(opened);
  } finally {
    await opened.encoder.close();
  }
}

interface LanguagePlan {
  readonly spec: LanguageSpec;
  readonly models: OpenModels;
  readonly attacker: DecoderCheckpoint;
}

/** Builds the world while no other process does; a process that waited finds it built. */
function buildOnce(plan: LanguagePlan, options: BuildOptions): Promise<LanguageRecord> {
  const { folder, signal, progress } = options;
  const onWait = (pid: number): void =>
    progress.start(`wait for process ${pid}, which measures this world`, undefined, '').finish();
  return withLock(`${folder}.lock`, { ...(signal === undefined ? {} : { signal }), onWait }, async () => {
    const cached = await readLanguageRecord(folder);
    if (cached !== undefined) return cached;
    progress.say?.(`measure language world ${plan.spec.seed}: minutes, once; then it is in the cache`);
    return await buildWorld(plan, options).catch(explainInterrupt);
  });
}

/** No run exists yet that could be resumed: the command itself continues the world. */
function explainInterrupt(error: unknown): never {
  if (!(error instanceof FloodgateError) || error.code !== 'interrupted') throw error;
  const hint = 'the same command measures the world on from its last batch';
  throw new FloodgateError('interrupted', error.message, { hint, cause: error });
}

async function buildWorld(plan: LanguagePlan, options: BuildOptions): Promise<LanguageRecord> {
  await mkdir(options.folder, { recursive: true });
  const attacker = await openLanguageAttacker(plan.attacker, options.compute);
  try {
    return await encoderOf(plan.models, plan.spec, async ({ encoder }) => {
      const topics = drawPlanted(plan.spec);
      const meter = await createCentreMeter(
        encoder,
        topics.map(({ phrase }) => phrase),
      );
      const record = await measureWorld({ spec: plan.spec, attacker, meter, topics }, options);
      await writeLanguageRecord(options.folder, record);
      return record;
    });
  } finally {
    await attacker.close();
  }
}

interface Build {
  readonly spec: LanguageSpec;
  readonly attacker: Attacker;
  readonly meter: CentreMeter;
  readonly topics: readonly Topic[];
}

/** Radii come from draws of the first proposal; the truth from fresh draws of the second, which learned from those. */
async function measureWorld(build: Build, options: BuildOptions): Promise<LanguageRecord> {
  const { spec, attacker, meter, topics } = build;
  const { seed, noise } = spec;
  const seeds = drawLanguageSeeds(seed, topics);
  const learned = seedExamples(attacker, seeds, seed);
  const reference = await trainLesson(
    attacker,
    { stage: REFERENCE, seed, examples: learned, recipe: LANGUAGE_SFT },
    options,
  );
  const examples = topics.flatMap((topic) => seedExamples(attacker, requestsAbout(topic), seed));
  const [firstRecipe, secondRecipe] = PROPOSAL_RECIPES;
  const first = await trainLesson(
    attacker,
    { stage: FIRST_PROPOSAL, seed, examples, recipe: firstRecipe, from: reference },
    options,
  );
  const source = (proposal: typeof first): DrawSource => ({
    attacker,
    reference: attacker.stateOf(reference),
    proposer: attacker,
    proposal: attacker.stateOf(proposal),
    meter,
  });
  const name = 'set the radii';
  const half = Math.ceil(spec.samples / 2);
  const near = await drawRequests(source(first), {
    ...options,
    folder: `${options.folder}/radii`,
    name,
    seed,
    count: half,
  });
  const regions = fitRegions(wantedRegions(spec, topics), near);
  const nearest = nearestExamples(attacker, regions, near);
  const second = await trainLesson(
    attacker,
    { stage: PROPOSAL, seed, examples: nearest, recipe: secondRecipe, from: first },
    options,
  );
  const sha256 = referenceSha256(attacker, reference);
  const draws = await referenceDraws(source(second), { ...options, seed, count: spec.samples, reference: sha256 });
  const posterior = weighLanguage(draws, regions, { ...LANGUAGE_REWARD, noise, responses: LANGUAGE_RESPONSES });
  const placed = await meter.cosinesOf(seeds, options.signal);
  return {
    spec,
    keys: regions,
    seeds,
    harmlessSeeds: seeds.filter((_, i) => placeIn(regions, placed[i] as number[]).alarm === 0),
    reference: sha256,
    truth: summariseLanguage(regions, posterior),
  };
}

/**
 * The draws in and near each region, by the square root of their prior, so that the likeliest few do not crowd out the
 * rest; every region has the same weight in all.
 */
function nearestExamples(
  attacker: Attacker,
  regions: readonly Region[],
  draws: readonly LanguageDraw[],
): LikelihoodExample[] {
  return regions.flatMap(({ nearRadius }, i) => {
    const near = draws.filter(({ cosines, tokens }) => tokens.length > 0 && (cosines[i] as number) >= nearRadius);
    const total = near.reduce((sum, { prior }) => sum + Math.sqrt(prior), 0);
    return near.map((draw) => ({ row: attacker.rowOf(draw), weight: Math.sqrt(draw.prior) / total }));
  });
}
