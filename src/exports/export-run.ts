import { loadTaxonomy } from '../report/taxonomy/taxonomy.ts';
import type { RunFolder } from '../runs/run-folder.ts';
import type { CampaignIo } from '../stages/stage.ts';
import { configLocation } from './config-location.ts';
import type { TextMode } from './export-row.ts';
import { withExportSource } from './export-source.ts';
import { exportFormats } from './registry.ts';
import { type Destination, type WrittenExport, writeExport } from './write-export.ts';

export interface ExportRunOptions {
  /** Name of a format, e.g. `csv`. */
  readonly format: string;
  readonly destination: Destination;
  /** Default: `masked`. */
  readonly texts?: TextMode | undefined;
  /** Stages whose attacks are exported; default: all. */
  readonly stages?: readonly string[] | undefined;
  /** Path of a user's own table of categories. */
  readonly taxonomy?: string | undefined;
  readonly licence?: string | undefined;
  /** Path of the config that results of SARIF point at; default: the run's own. */
  readonly config?: string | undefined;
}

export interface ExportedRun extends WrittenExport {
  /** Attacks of the exported stages. */
  readonly attacks: number;
  readonly texts: TextMode;
  /** Why a field is empty that could have been filled. */
  readonly notes: readonly string[];
}

/**
 * Writes a run in a format of other tools, from its present database: all of `floodgate export`.
 * @throws FloodgateError `usage` for an unknown format or stage, or where something exists that is not to be replaced;
 * `run` before the first measurement; `config` for a wrong table; `store` when the disk refuses; `interrupted` on abort.
 */
export async function exportRun(folder: RunFolder, options: ExportRunOptions, io: CampaignIo): Promise<ExportedRun> {
  const { texts = 'masked', stages, licence, destination } = options;
  const format = exportFormats.get(options.format);
  const taxonomy = await loadTaxonomy(options.taxonomy);
  const location = options.config === undefined ? undefined : await configLocation(options.config);
  return withExportSource(folder, { texts, taxonomy, stages, licence, location }, io, async (source) => {
    const written = await writeExport(format, source, destination, io);
    return { ...written, attacks: source.attackCount, texts, notes: source.notes };
  });
}
