import { join, relative } from 'node:path';
import type { RunFolder } from '../../runs/run-folder.ts';
import { openConfigModels } from '../../stages/campaign/run-models.ts';
import type { Config } from '../../stages/config/config.ts';
import type { CampaignIo } from '../../stages/stage.ts';
import { targetModelName, withTargetModel } from '../../targets/registry.ts';
import type { TargetModel } from '../../targets/target-kind.ts';
import { RESPONSE_TOKENS } from '../../worlds/pico-model.ts';
import { madeWorld } from '../../worlds/world-registry.ts';
import type { NamedTarget } from '../transfer/transfer-config.ts';
import type { TargetCheck } from '../tune/tune-check.ts';
import type { TuneFile } from '../tune/tune-record.ts';
import { tuneRun } from '../tune/tune-run.ts';
import { loadTuneTexts, notTunable, openSubject } from '../tune/tune-subject.ts';
import { BASE, type OverRefusal, type TargetVersion, type Utility } from './robustness-file.ts';
import { comparedWith, dialogueUtility, exactUtility, heldOutDialogues } from './target-utility.ts';

/**
 * Safety tuning of a synthetic world's target, a thousand times smaller than the models that the paper's rate is meant
 * for: the smallest rate that fixes it (docs/claims.md), and benign answers of a word and its end.
 */
export const WORLD_TUNING: readonly string[] = [
  'tuning.learningRate=3e-4',
  'tuning.epochs=4',
  `tuning.benign.maxNewTokens=${RESPONSE_TOKENS}`,
];

export interface TuneEachPlan {
  /** Attackers on whose successes a target is tuned, a target each. */
  readonly stages: readonly string[];
  /** At most so many successes of each, so that no target resists better for having seen more. */
  readonly successes: number;
  /** `tuning.key=value` over the run's config. */
  readonly overrides: readonly string[];
  /** Folder of a stage's target below RUN/tuned. */
  nameOf(stage: string): string;
}

/** A target tuned on one attacker's data. */
export interface TunedModel {
  /** The attacker whose successes it was tuned on. */
  readonly stage: string;
  /** Below RUN/tuned; `tuned:NAME` for transfer. */
  readonly name: string;
  /** Absolute: `target.model` of a further run. */
  readonly modelPath: string;
  readonly file: TuneFile;
}

/** Tunes the run's target on the data of each attacker. One without a success has no target. Resumes when interrupted. */
export async function tuneOnEach(
  folder: RunFolder,
  { stages, successes, overrides, nameOf }: TuneEachPlan,
  io: CampaignIo,
): Promise<TunedModel[]> {
  const tuned: TunedModel[] = [];
  for (const stage of stages) {
    const name = nameOf(stage);
    const settings = [...overrides, `tuning.limit=${successes}`];
    const outcome = await tuneRun({ folder, stage, name, overrides: settings }, io);
    if (outcome.kind === 'nothing') continue;
    const { file } = outcome;
    tuned.push({ stage, name, modelPath: join(folder.path, file.paths.model), file });
  }
  return tuned;
}

/**
 * A version of a run's target as a column of the transfer matrix. It is asked as the run's evaluation asks the target, so
 * that replayed attacks and retrained attackers are measured alike. Without a model: the version that is not tuned.
 * @throws FloodgateError `usage` when the target cannot be tuned.
 */
export function versionColumn({ target, evaluation }: Config, name: string, model?: string): NamedTarget {
  const version = withTargetModel(target, model ?? targetModelName(target));
  if (version === undefined) throw notTunable(`transfer target ${name}`, target, TUNABLE_REMEDY);
  return { ...version, name, responses: evaluation.responses };
}

/** The remedy for a run whose target has no model. */
export const TUNABLE_REMEDY = 'run against a language model: target.kind and target.model in the config';

/** Versions of one target: as it is, and tuned. */
export interface VersionsPlan {
  readonly config: Config;
  /** Paths in the result are relative to it. */
  readonly folder: string;
  /** Name of the model that is not tuned. */
  readonly baseModel: string;
  readonly tuned: readonly (Pick<TunedModel, 'modelPath' | 'file'> & { readonly version: string })[];
  /** Versions that an earlier start has measured. */
  readonly known: readonly TargetVersion[];
}

/** Measures each version: the requests that it refuses without need, and its utility. The base is the first. */
export async function describeVersions(plan: VersionsPlan, io: CampaignIo): Promise<TargetVersion[]> {
  const { folder, baseModel, tuned } = plan;
  const utilities = await measureUtilities(plan, io);
  const base = {
    name: BASE,
    model: baseModel,
    successes: null,
    overRefusal: overRefusalOf(tuned[0]?.file.check?.before),
    warnings: [],
  };
  const others = tuned.map(({ version, modelPath, file }) => ({
    name: version,
    model: relative(folder, modelPath),
    successes: file.counts?.used ?? null,
    overRefusal: overRefusalOf(file.check?.after),
    warnings: [...file.warnings],
  }));
  return [base, ...others].map((each, i) => ({ ...each, ...(utilities[i] as MeasuredUtility) }));
}

type MeasuredUtility = Pick<TargetVersion, 'sha256' | 'utility'>;

/** The utility of each version, compared with the base's. A known one of the same weights is not measured again. */
async function measureUtilities({ config, tuned, known }: VersionsPlan, io: CampaignIo): Promise<MeasuredUtility[]> {
  const models = await openConfigModels(config, io);
  const base = await openSubject(models);
  const keyless = madeWorld(models.world) === undefined ? undefined : (await loadTuneTexts(models)).heldOutBenign;
  const dialogues = await heldOutDialogues();
  const measure = (subject: TargetModel): Promise<Utility> =>
    keyless === undefined ? dialogueUtility(subject, dialogues) : exactUtility(subject, keyless);
  const versions = [{ version: BASE, modelPath: undefined }, ...tuned];
  const bar = io.progress.start('measure utility', versions.length, 'targets');
  const measured: MeasuredUtility[] = [];
  try {
    for (const [i, { version, modelPath }] of versions.entries()) {
      bar.update(i, version);
      const checkpoint = modelPath === undefined ? base.checkpoint : await models.openDecoder(modelPath, 'target');
      const { sha256 } = checkpoint;
      const earlier = known.find(({ name }) => name === version);
      const utility = earlier?.sha256 === sha256 ? earlier.utility : await measure({ ...base, checkpoint });
      const first = measured[0]?.utility;
      measured.push({ sha256, utility: first === undefined ? utility : comparedWith(first, utility) });
    }
    bar.update(versions.length);
    return measured;
  } finally {
    bar.finish();
  }
}

/** Over-refusal as a tuning's check has measured it; null where that was told to measure nothing. */
function overRefusalOf(check: TargetCheck | null | undefined): OverRefusal | null {
  if (check === null || check === undefined) return null;
  return { benign: check.benign.refusals, borderline: check.borderline.refusals };
}
