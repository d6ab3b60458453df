import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import { canonicalJson } from '../../base/canonical-json.ts';
import { RUN_NAME_PATTERN } from '../../base/config-fields.ts';
import { FloodgateError } from '../../base/errors.ts';
import type { RunFolder } from '../../runs/run-folder.ts';
import type { TuningConfig } from '../../stages/config/tuning-section.ts';
import type { Calls } from '../../trial/ledger.ts';
import type { Collected } from './collect-successes.ts';
import type { TargetCheck } from './tune-check.ts';
import type { TuneRecord } from './tune-target.ts';
import type { TuningData, TuningExample } from './tuning-data.ts';
import type { RejectionCounts } from './write-answers.ts';

/** The folder of one tuned target of a run: `RUN/tuned/NAME/`. */
export interface TuneFolder {
  readonly name: string;
  readonly path: string;
  /** The data set: `chat-sft.jsonl`, `preference.jsonl`, `prompts.jsonl`. */
  readonly dataPath: string;
  /** Answers while they are written; removed at the end. */
  readonly partialPath: string;
  readonly recordPath: string;
}

/** @throws FloodgateError `usage` for a name that cannot be a folder's. */
export function tuneFolderOf(run: RunFolder, name: string): TuneFolder {
  if (!RUN_NAME_PATTERN.test(name)) {
    const got = JSON.stringify(name);
    throw new FloodgateError('usage', `tune --name: got ${got}, expected letters, digits, dot, dash, underscore`);
  }
  const path = join(run.path, 'tuned', name);
  return {
    name,
    path,
    dataPath: join(path, 'data'),
    partialPath: join(path, 'data', 'answers.partial.json'),
    recordPath: join(path, 'tune.json'),
  };
}

/** Everything that decides the result: the same identity resumes, another one needs another name. */
export interface TuneIdentity {
  readonly run: string;
  readonly stage: string;
  readonly target: {
    readonly spec: string;
    readonly sha256: string;
    readonly template: 'chat' | 'plain';
    readonly systemPrompt: string | null;
  };
  /** Folder of the adapter that training began with. */
  readonly startAdapter: string | null;
  readonly seed: number;
  readonly settings: TuningConfig;
}

export interface TuneCounts {
  /** Distinct attacks of the stage that were scored. */
  readonly attacksTried: number;
  readonly successes: number;
  /** Successes that the data is made from: at most `tuning.limit`. */
  readonly used: number;
  readonly refusalsByTarget: number;
  readonly refusalsByTemplate: number;
  /** Successes for which no refusal passed. */
  readonly unanswered: number;
  readonly benign: number;
  readonly attackClusters: number;
  readonly trainingExamples: number;
  readonly validationExamples: number;
  readonly rejected: { readonly refusals: RejectionCounts; readonly benign: RejectionCounts };
}

/** `tune.json`: settings, counts and curves of one tuned target. */
export interface TuneFile extends TuneIdentity {
  readonly tuneVersion: 1;
  readonly name: string;
  readonly status: 'running' | 'done';
  /** Limits of the result, for its reader. */
  readonly warnings: readonly string[];
  readonly counts: TuneCounts | null;
  /** Calls for answers and checks, over all starts; null in a record from before they were counted. */
  readonly calls: Calls | null;
  readonly training: TuneRecord | null;
  /** By the judges of the run; null where `tuning.check` asks for nothing; `after` is null while it trains. */
  readonly check: { readonly before: TargetCheck; readonly after: TargetCheck | null } | null;
  /** Relative to the run folder. */
  readonly paths: { readonly model: string; readonly adapter: string; readonly data: string };
}

/** @throws FloodgateError `store` when the disk refuses. */
export async function writeTuneFile({ recordPath }: TuneFolder, file: TuneFile): Promise<void> {
  await writeFileAtomically(recordPath, (handle) => handle.writeFile(`${JSON.stringify(file, null, 2)}\n`));
}

/** The record of an earlier start; undefined when there is none. @throws FloodgateError `run` when it is damaged. */
export async function readTuneFile({ recordPath }: TuneFolder): Promise<TuneFile | undefined> {
  try {
    return { calls: null, ...(JSON.parse(await readFile(recordPath, 'utf8')) as Omit<TuneFile, 'calls'>) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new FloodgateError('run', `read ${recordPath}: it is damaged`, {
      cause: error,
      hint: 'choose another --name, or remove the folder',
    });
  }
}

/** @throws FloodgateError `usage` when the folder holds a target that was tuned otherwise. */
export function refuseOtherIdentity(folder: TuneFolder, earlier: TuneFile, wanted: TuneIdentity): void {
  const keys = ['run', 'stage', 'target', 'startAdapter', 'seed', 'settings'] as const;
  const changed = keys.filter((key) => canonicalJson(earlier[key]) !== canonicalJson(wanted[key]));
  if (changed.length === 0) return;
  throw new FloodgateError(
    'usage',
    `tune ${folder.name}: ${folder.path} was tuned with another ${changed.join(', ')}`,
    {
      hint: 'choose another --name',
    },
  );
}

/** Counts of the data, for `tune.json`. */
export function countData(collected: Collected, { examples, unanswered, rejected }: TuningData): TuneCounts {
  const count = (isCounted: (example: TuningExample) => boolean) => examples.filter(isCounted).length;
  return {
    attacksTried: collected.tried,
    successes: collected.found,
    used: collected.successes.length,
    refusalsByTarget: count(({ kind, answerSource }) => kind === 'refusal' && answerSource === 'target'),
    refusalsByTemplate: count(({ kind, answerSource }) => kind === 'refusal' && answerSource === 'template'),
    unanswered,
    benign: count(({ kind }) => kind === 'benign'),
    attackClusters: new Set(examples.filter(({ kind }) => kind === 'refusal').map(({ cluster }) => cluster)).size,
    trainingExamples: count(({ split }) => split === 'training'),
    validationExamples: count(({ split }) => split === 'validation'),
    rejected,
  };
}

/** Limits of the result that its counts show. */
export function warningsOf({ batchSize, benign }: TuningConfig, counts: TuneCounts, keptUpdates: number): string[] {
  const refusals = counts.refusalsByTarget + counts.refusalsByTemplate;
  const warnings: string[] = [];
  if (refusals < batchSize)
    warnings.push(`${refusals} attacks with a refusal, fewer than a batch of ${batchSize}: expect little`);
  if (counts.unanswered > 0)
    warnings.push(`${counts.unanswered} successes have no refusal that passed and were left out`);
  const reached = counts.benign / Math.max(1, counts.benign + refusals);
  if (reached < benign.share - 0.05)
    warnings.push(`the benign share is ${reached.toFixed(2)}, asked for ${benign.share}: give more benign prompts`);
  if (counts.validationExamples === 0)
    warnings.push('too few clusters for a validation split: the last update is kept, there was no early stop');
  if (keptUpdates === 0) warnings.push('no update lowered the validation loss: the target is as it was');
  return warnings;
}
