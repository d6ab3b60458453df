import { join } from 'node:path';
import { writeFileAtomically } from '../base/atomic-file.ts';
import { FloodgateError } from '../base/errors.ts';
import { finishPausing } from '../metrics/steps.ts';
import type { RunFolder } from '../runs/run-folder.ts';
import { readLabels } from '../runs/store/label-store.ts';
import { loadRunConfig } from '../stages/campaign/config-load.ts';
import { openRunModels } from '../stages/campaign/run-models.ts';
import type { Config } from '../stages/config/config.ts';
import type { CampaignIo } from '../stages/stage.ts';
import {
  createTextVectors,
  readEvaluatedAttacks,
  type TextVectors,
  textsToEmbed,
} from './attacks/evaluated-attacks.ts';
import { KEPT_MAP, type KeptMap } from './attacks/kept-map.ts';
import { renderReportPageInSteps } from './report-page.ts';
import { readRun } from './run-overview.ts';
import type { Taxonomy } from './taxonomy/taxonomy.ts';

export interface PageOptions {
  /** Default: `report.html` in the run folder. */
  readonly path?: string;
  /** False: the file holds no attack and no response. */
  readonly withTexts: boolean;
  /** Categories of harm and their places in taxonomies; default: the table that ships with Floodgate. */
  readonly taxonomy?: Taxonomy;
}

export interface WrittenPage {
  readonly path: string;
  readonly bytes: number;
  /** Texts that a reader can unmask. */
  readonly texts: number;
  /** The reason why map and embedding clusters are missing; undefined when they are there. */
  readonly withoutEncoder: string | undefined;
}

/** Texts of one call of the encoder: progress moves, and memory stays small. */
const EMBED_BATCH = 128;

/** L2-normalised embeddings [texts, width], flat. */
async function embedAll(texts: readonly string[], config: Config, io: CampaignIo): Promise<Float32Array> {
  // The encoder of a synthetic world is built in: a page needs no world.
  const models = openRunModels(config, io, undefined);
  const { encoder } = await models.openEncoder();
  const bar = io.progress.start('report: embedding attacks', texts.length, 'attacks');
  try {
    const flat = new Float32Array(texts.length * encoder.width);
    for (let first = 0; first < texts.length; first += EMBED_BATCH) {
      flat.set(await encoder.embed(texts.slice(first, first + EMBED_BATCH), io.signal), first * encoder.width);
      bar.update(Math.min(first + EMBED_BATCH, texts.length));
    }
    return flat;
  } finally {
    bar.finish();
    await encoder.close();
  }
}

/** Embeddings for maps and clusters. A machine without the run's encoder still makes a page and an export. */
export async function embedTexts(texts: readonly string[], config: Config, io: CampaignIo): Promise<TextVectors> {
  const encoder = config.encoder.model;
  if (texts.length === 0) return { kind: 'missing', encoder, reason: 'no attack was evaluated' };
  try {
    return createTextVectors(encoder, texts, await embedAll(texts, config, io));
  } catch (error) {
    if (!(error instanceof FloodgateError) || error.code !== 'source') throw error;
    return { kind: 'missing', encoder, reason: 'it is not on the machine that made this page' };
  }
}

/** Keeps the map for the viewer, which opens no encoder. */
async function keepMap({ path }: RunFolder, map: KeptMap): Promise<void> {
  await writeFileAtomically(join(path, KEPT_MAP), (file) => file.writeFile(JSON.stringify(map)));
}

/** The error of a report before the first measurement. */
export function notMeasured({ name }: RunFolder): FloodgateError {
  return new FloodgateError('run', `report ${name}: nothing has been measured yet`, {
    hint: `floodgate resume ${name} continues the run`,
  });
}

/**
 * Writes the page of a run from its present database.
 * @throws FloodgateError `run` before the first measurement; `store` when the disk refuses; `interrupted` on abort.
 */
export async function writeReportPage(
  folder: RunFolder,
  { path = join(folder.path, 'report.html'), withTexts, taxonomy }: PageOptions,
  io: CampaignIo,
): Promise<WrittenPage> {
  const config = await loadRunConfig(folder);
  const { page, vectors } = await readRun(folder, async ({ report, manifest }, store) => {
    if (report === undefined || manifest === undefined || store === undefined) throw notMeasured(folder);
    const labels = readLabels(folder.labelsPath);
    const made = await embedTexts(textsToEmbed(readEvaluatedAttacks(store, report)), config, io);
    const steps = renderReportPageInSteps(
      { store, report, manifest, config, vectors: made, labels, ...(taxonomy === undefined ? {} : { taxonomy }) },
      { withTexts },
    );
    const page = await finishPausing(
      steps,
      io.signal,
      `report ${folder.name}`,
      `floodgate report ${folder.name} writes it`,
    );
    return { page, vectors: made };
  });
  await writeFileAtomically(path, (file) => file.writeFile(page.markup));
  // A page at another place is a copy: the run may be somebody else's.
  const isOwn = path === join(folder.path, 'report.html');
  if (isOwn && page.map !== undefined) await keepMap(folder, page.map);
  return {
    path,
    bytes: Buffer.byteLength(page.markup),
    texts: page.texts,
    withoutEncoder: vectors.kind === 'missing' ? vectors.reason : undefined,
  };
}
