import { readFile } from 'node:fs/promises';
import { FloodgateError } from '../../base/errors.ts';
import { yaml } from '../../base/yaml.ts';
import { isUnsafe } from '../../learning/reward/reward.ts';
import { independentDifference, type PairedCounts, pairedShareDifference } from '../../metrics/differences.ts';
import type { Measure } from '../../metrics/measure.ts';
import type { RunFolder } from '../../runs/run-folder.ts';
import { storedCauses, type WayRecord } from '../../stages/evaluation/causes-record.ts';
import type { Report, ReportStage } from '../figures/report-json.ts';
import { readRun } from '../run-overview.ts';
import type { ReportMeasure } from '../words/number-words.ts';
import { type ComparedWay, compareWays } from './compared-ways.ts';

/** A figure of an attacker in each run, and the last run's minus the first's. */
export interface ComparedFigure {
  readonly name: string;
  /** Undefined where the run has no such figure. */
  readonly values: readonly (ReportMeasure | undefined)[];
  readonly difference: Measure | undefined;
}

export interface ComparedAttacker {
  readonly attacker: string;
  readonly figures: readonly ComparedFigure[];
}

/** The attacks that the first and the last run both asked. */
export interface SharedAttacks {
  readonly counts: PairedCounts;
  /** Success rate in the last run minus that in the first, over the same attacks. */
  readonly difference: Measure;
}

export interface ComparedSetting {
  /** Dotted path in the config. */
  readonly key: string;
  /** JSON of each run's value; undefined where a run has no such key. */
  readonly values: readonly (string | undefined)[];
}

export interface Comparison {
  readonly runs: readonly { readonly name: string; readonly createdAt: string; readonly judge: string }[];
  /** Empty, or the reason why the runs are not alike: another judge or another attacker model. */
  readonly warnings: readonly string[];
  readonly attackers: readonly ComparedAttacker[];
  /** Undefined unless both runs have the same reported judge. */
  readonly shared: SharedAttacks | undefined;
  readonly ways: readonly ComparedWay[];
  readonly settings: readonly ComparedSetting[];
}

/** The present step of a comparison. */
export type CompareStep =
  | { readonly kind: 'read'; readonly run: string; readonly place: number; readonly of: number }
  | { readonly kind: 'ways'; readonly done: number; readonly of: number };

/** One run as it was read; its database is closed by then. */
interface ReadRun {
  readonly report: Report;
  readonly ways: readonly WayRecord[];
  /** Whether each text that was asked succeeded, by the reported judge. */
  readonly outcomes: ReadonlyMap<string, boolean>;
  readonly config: unknown;
}

/** The figures that are compared: names, and where a stage of the report has them. */
export const FIGURES: Readonly<Record<string, (stage: ReportStage) => ReportMeasure | undefined>> = {
  'success rate': ({ metrics }) => metrics.asr,
  ways: ({ causes }) => causes?.metrics.ways,
  wordings: ({ metrics }) => metrics.uniqueAttacks,
};

async function readOne(folder: RunFolder): Promise<ReadRun> {
  const config: unknown = yaml().parse(await readFile(folder.configPath, 'utf8'));
  return readRun(folder, ({ report }, store) => {
    if (report === undefined || store === undefined || report.stages.length === 0) {
      throw new FloodgateError('run', `compare: run ${folder.name} has measured nothing yet`, {
        hint: `floodgate resume ${folder.name} continues it`,
      });
    }
    const outcomes = store
      .scoredTexts(report.run.reportedJudge)
      .map(({ text, meanUnsafe }) => [text, isUnsafe(meanUnsafe)] as const);
    const ways = report.stages.flatMap(({ name }) => storedCauses(store, name)?.ways ?? []);
    return { report, ways, outcomes: new Map(outcomes), config };
  });
}

/**
 * Compares runs, the oldest first: figures of the attackers that they share, the attacks that both the first and the
 * last asked, the ways of all of them, and the settings that differ.
 * @throws FloodgateError `usage` for fewer than two runs or one named twice; `run` for one that has measured nothing.
 */
export async function compareRuns(
  folders: readonly RunFolder[],
  onStep?: (step: CompareStep) => void,
): Promise<Comparison> {
  if (folders.length < 2)
    throw new FloodgateError('usage', `compare: got ${folders.length} runs, expected two or more`);
  if (new Set(folders.map(({ path }) => path)).size < folders.length) {
    throw new FloodgateError('usage', `compare: got one run twice: ${folders.map(({ name }) => name).join(', ')}`);
  }
  const runs: ReadRun[] = [];
  for (const [i, folder] of folders.entries()) {
    onStep?.({ kind: 'read', run: folder.name, place: i + 1, of: folders.length });
    runs.push(await readOne(folder));
  }
  const judges = new Set(runs.map(({ report }) => report.run.reportedJudge));
  return {
    runs: runs.map(({ report: { run } }, i) => {
      const { name } = folders[i] as RunFolder;
      return { name, createdAt: run.createdAt, judge: run.reportedJudge };
    }),
    warnings: warningsOf(runs),
    attackers: compareAttackers(runs),
    shared: judges.size === 1 ? shareAttacks(runs[0] as ReadRun, runs.at(-1) as ReadRun) : undefined,
    ways: compareWays(
      runs.map(({ ways, outcomes }) => ({
        found: ways,
        asked: [...outcomes].map(([text, isSuccess]) => ({ text, isSuccess })),
      })),
      (done, of) => onStep?.({ kind: 'ways', done, of }),
    ),
    settings: compareSettings(runs.map(({ config }) => config)),
  };
}

function warningsOf(runs: readonly ReadRun[]): string[] {
  const differing = (what: string, of: (run: ReadRun) => string): string[] => {
    const names = [...new Set(runs.map(of))];
    return names.length === 1 ? [] : [`${what} differ: ${names.join(', ')}; so may the figures for that reason alone`];
  };
  const attackerOf = ({ report }: ReadRun): string =>
    report.run.models.find(({ role }) => role === 'attacker')?.spec ?? '';
  return [
    ...differing('the judges behind the figures', ({ report }) => report.run.reportedJudge),
    ...differing("the attackers' models", attackerOf),
  ];
}

/** The attackers that two runs or more have, in the order of the first run. */
function compareAttackers(runs: readonly ReadRun[]): ComparedAttacker[] {
  const names = [...new Set(runs.flatMap(({ report }) => report.stages.map(({ name }) => name)))];
  return names.flatMap((attacker) => {
    const stages = runs.map(({ report }) => report.stages.find(({ name }) => name === attacker));
    const figures = Object.entries(FIGURES).flatMap(([name, of]) => {
      const values = stages.map((stage) => (stage === undefined ? undefined : of(stage)));
      if (values.filter((value) => value !== undefined).length < 2) return [];
      const [first, last] = [values[0], values.at(-1)];
      const difference = first === undefined || last === undefined ? undefined : independentDifference(first, last);
      return [{ name, values, difference }];
    });
    return figures.length === 0 ? [] : [{ attacker, figures }];
  });
}

function shareAttacks(first: ReadRun, last: ReadRun): SharedAttacks {
  const counts = { both: 0, firstOnly: 0, secondOnly: 0, neither: 0 };
  for (const [text, inFirst] of first.outcomes) {
    const inLast = last.outcomes.get(text);
    if (inLast === undefined) continue;
    if (inFirst) counts[inLast ? 'both' : 'firstOnly']++;
    else counts[inLast ? 'secondOnly' : 'neither']++;
  }
  return { counts, difference: pairedShareDifference(counts) };
}

/** Every leaf of a config with its dotted path; lists are leaves. */
function leaves(value: unknown, path: string): [string, string][] {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return [[path, JSON.stringify(value)]];
  return Object.entries(value).flatMap(([key, item]) => leaves(item, path === '' ? key : `${path}.${key}`));
}

function compareSettings(configs: readonly unknown[]): ComparedSetting[] {
  const settings = configs.map((config) => new Map(leaves(config, '')));
  const keys = [...new Set(settings.flatMap((each) => [...each.keys()]))];
  return keys
    .map((key) => ({ key, values: settings.map((each) => each.get(key)) }))
    .filter(({ values }) => new Set(values).size > 1);
}
