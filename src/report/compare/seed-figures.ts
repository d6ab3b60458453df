import { meanOverSeeds } from '../../metrics/intervals.ts';
import type { Measure } from '../../metrics/measure.ts';
import type { CampaignIo } from '../../stages/stage.ts';
import { runSeeds, type SeedsPlan } from '../../studies/seeds/run-seeds.ts';
import { type ReportedRun, writeRunReport } from '../campaigns.ts';
import type { Report } from '../figures/report-json.ts';
import type { ReportMeasure } from '../words/number-words.ts';
import { FIGURES } from './compare-runs.ts';

/** A figure of an attacker at each seed, and its mean over them with Student's t interval. */
export interface SeedFigure {
  readonly attacker: string;
  readonly figure: string;
  /** In the order of the seeds; undefined where a run has no such figure. */
  readonly values: readonly (ReportMeasure | undefined)[];
  readonly mean: Measure;
}

/** The figures of runs that differ in their seed alone. One that some seed does not have is left out of its mean. */
export function seedFigures(reports: readonly Pick<Report, 'stages'>[]): SeedFigure[] {
  const attackers = [...new Set(reports.flatMap(({ stages }) => stages.map(({ name }) => name)))];
  return attackers.flatMap((attacker) => {
    const stages = reports.map((report) => report.stages.find(({ name }) => name === attacker));
    return Object.entries(FIGURES).flatMap(([figure, of]) => {
      const values = stages.map((stage) => (stage === undefined ? undefined : of(stage)));
      const known = values.flatMap((value) => value?.value ?? []);
      return known.length === 0 ? [] : [{ attacker, figure, values, mean: meanOverSeeds(known) }];
    });
  });
}

export interface SeedRuns {
  /** In the order of the seeds. */
  readonly runs: readonly ReportedRun[];
  readonly figures: readonly SeedFigure[];
}

/**
 * Runs a config at several seeds, here or on workers, and writes the report of each: all of `floodgate run --seeds`.
 * @throws FloodgateError as `runSeeds`.
 */
export async function runSeedCampaigns(plan: SeedsPlan, io: CampaignIo): Promise<SeedRuns> {
  const runs: ReportedRun[] = [];
  for (const folder of await runSeeds(plan, io)) runs.push(await writeRunReport(folder, io));
  return { runs, figures: seedFigures(runs.map(({ report }) => report)) };
}
