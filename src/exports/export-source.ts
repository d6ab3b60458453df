import { isAbsolute } from 'node:path';
import { FloodgateError } from '../base/errors.ts';
import type { Report } from '../report/figures/report-json.ts';
import { readRun } from '../report/run-overview.ts';
import { type Coverage, coverageOf } from '../report/taxonomy/coverage.ts';
import type { Taxonomy } from '../report/taxonomy/taxonomy.ts';
import { createPathCutter, cutStrings, lastPart, stringsOf } from '../report/words/path-cutter.ts';
import { notMeasured } from '../report/write-report.ts';
import type { RunFolder } from '../runs/run-folder.ts';
import { readLabels } from '../runs/store/label-store.ts';
import type { RunStore } from '../runs/store/run-store.ts';
import { loadRunConfig } from '../stages/campaign/config-load.ts';
import type { Config } from '../stages/config/config.ts';
import type { CampaignIo } from '../stages/stage.ts';
import type { SeatName } from '../trial/evidence.ts';
import { type ConfigLocation, ownLocation } from './config-location.ts';
import { type ExportedAttack, exportText, type Provenance, type TextMode } from './export-row.ts';
import { knownCauses } from './known-causes.ts';
import { createRowLabels } from './row-labels.ts';
import { createRowReader, type OpenedRun } from './row-reader.ts';
import { attacksOf, type ExportedStage, exportedStages } from './stage-rows.ts';
import { type FoundWays, type HeldCause, tallyWays } from './ways.ts';
import { findWordings } from './wordings.ts';

export interface SourceOptions {
  readonly texts: TextMode;
  readonly taxonomy: Taxonomy;
  /** Stages whose attacks are exported; undefined for all. */
  readonly stages?: readonly string[] | undefined;
  readonly licence?: string | undefined;
  /** Default: the run's own config. */
  readonly location?: ConfigLocation | undefined;
}

/** Everything that a format writes from. Strings of settings hold no path of this machine. */
export interface ExportSource {
  readonly provenance: Provenance;
  readonly report: Report;
  readonly config: Config;
  readonly taxonomy: Taxonomy;
  readonly texts: TextMode;
  /** Name of the run's own target. */
  readonly target: string;
  /** Judges with verdicts. */
  readonly seats: readonly SeatName[];
  /** The exported stages, and the attacks in them. */
  readonly stages: readonly ExportedStage[];
  readonly attackCount: number;
  /** Why a field is empty that could have been filled. */
  readonly notes: readonly string[];
  /** Licence of a copy that is handed on; `unknown` where none was stated. */
  readonly licence: string;
  /** Place of the config in the reader's repository. */
  readonly location: ConfigLocation;
  /** The ways of success, from the evaluated attacks of every target. Reads the database. */
  ways(): FoundWays;
  /** The parts of the taxonomies that were tested. */
  coverage(): Coverage;
  /** Streams the attacks in the order of the stages. Each call reads the database again. */
  attacks(stages?: readonly ExportedStage[]): Generator<ExportedAttack>;
  /** A text as this export may hold it. */
  textOf(text: string): string | null;
}

/** Name of the run's own target, without a path of this machine. */
export function targetNameOf({ report, config, cut }: OpenedRun): string {
  const spec = report.run.models.find(({ role }) => role === 'target')?.spec;
  const { model } = config.target;
  return cut(spec ?? (typeof model === 'string' ? model : config.target.kind));
}

/** @throws FloodgateError `usage` for a stage that has no attacks. */
function chosenStages(run: string, store: RunStore, wanted: readonly string[] | undefined): ExportedStage[] {
  const all = exportedStages(store);
  if (wanted === undefined) return all;
  const names = new Set(all.flatMap(({ key, stage }) => [key, stage]));
  const unknown = wanted.find((name) => !names.has(name));
  if (unknown !== undefined)
    throw new FloodgateError(
      'usage',
      `export ${run}: --stage: got ${unknown}, expected one of ${[...names].join(', ')}`,
    );
  return all.filter(({ key, stage }) => wanted.includes(key) || wanted.includes(stage));
}

async function createSource(run: OpenedRun, options: SourceOptions, io: CampaignIo): Promise<ExportSource> {
  const { store, manifest, report, config, cut } = run;
  const { texts, taxonomy } = options;
  const stages = chosenStages(report.run.name, store, options.stages);
  const labels = readLabels(run.folder.labelsPath);
  const wordings = await findWordings(store, { report, config, labels }, io);
  const causes = knownCauses(
    store,
    report.stages.map(({ name }) => name),
  );
  const isSearched = report.stages.some((stage) => stage.causes !== undefined);
  const target = targetNameOf(run);
  const provenance: Provenance = {
    run: report.run.name,
    createdAt: report.run.createdAt,
    seed: report.run.seed,
    configSha256: report.run.configSha256,
    floodgate: manifest.versions.floodgate ?? 'unknown',
    texts,
  };
  const rowLabels = createRowLabels(store, {
    ...{ labels, texts, judge: report.run.reportedJudge, wordingNames: wordings.names, cut },
  });
  const facts = { provenance, texts, taxonomy, target, wordings: wordings.of, causes, labels: rowLabels };
  const read = createRowReader(run, facts);
  const evaluated = stages.filter(({ phase }) => phase === 'evaluation' || phase === 'transfer');
  function* rowsOfStages(chosen: readonly ExportedStage[]): Generator<HeldCause> {
    for (const stage of chosen) for (const attack of attacksOf(store, stage.key)) yield read(attack, stage);
  }
  return {
    provenance,
    report: cutStrings(report, cut),
    config: cutStrings(config, cut),
    taxonomy,
    texts,
    target,
    seats: store.judges().map(({ name, masked }) => ({ name: cut(name), masked })),
    stages,
    attackCount: stages.reduce((sum, { attacks }) => sum + attacks, 0),
    notes: wordings.missing === undefined ? [] : [`wordings are left out: ${cut(wordings.missing)}`],
    licence: options.licence ?? 'unknown',
    location: options.location ?? (await ownLocation(run.folder)),
    ways: () => {
      const found = tallyWays(causes, rowsOfStages(evaluated), isSearched);
      const isChosen = ({ known }: FoundWays['ways'][number]): boolean =>
        known.stages.some(({ stage }) => stages.some((each) => each.stage === stage));
      const ways = found.ways.filter(isChosen);
      return { ...found, ways: ways.map((way) => ({ ...way, name: rowLabels.wayName(way.known.sha256) })) };
    },
    coverage: () => cutStrings(coverageOf(report, config, taxonomy), cut),
    *attacks(chosen = stages) {
      for (const { row } of rowsOfStages(chosen)) yield row;
    },
    textOf: (text) => exportText(text, texts),
  };
}

/**
 * Returns the result of `use` over a run's rows, read from its present database, which is closed afterwards.
 * @throws FloodgateError `run` before the first measurement; `usage` for an unknown stage.
 */
export async function withExportSource<T>(
  folder: RunFolder,
  options: SourceOptions,
  io: CampaignIo,
  use: (source: ExportSource) => Promise<T>,
): Promise<T> {
  return withOpenedRun(folder, async (run) => use(await createSource(run, options, io)));
}

/**
 * Returns the result of `use` over a run's facts and its present database, which is closed afterwards.
 * @throws FloodgateError `run` before the first measurement.
 */
export async function withOpenedRun<T>(folder: RunFolder, use: (run: OpenedRun) => Promise<T>): Promise<T> {
  const config = await loadRunConfig(folder);
  return readRun(folder, async ({ report, manifest }, store) => {
    if (report === undefined || manifest === undefined || store === undefined) throw notMeasured(folder);
    const named = [config, manifest, report].flatMap((part) => [...stringsOf(part)]);
    const paths = [folder.path, ...named].filter((text) => isAbsolute(text) && lastPart(text) !== '');
    return use({ folder, store, manifest, report, config, cut: createPathCutter(paths) });
  });
}
