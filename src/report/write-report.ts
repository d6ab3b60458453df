import { join } from 'node:path';
import { writeFileAtomically } from '../base/atomic-file.ts';
import { FloodgateError } from '../base/errors.ts';
import type { CliContext } from '../cli/context.ts';
import { defaultThreads } from '../engine/runtime/device.ts';
import { createOpenModels } from '../models/open-models.ts';
import { loadRunConfig, type RunFolder } from '../runs/run-folder.ts';
import { openRunEncoder } from '../stages/campaign/open-run-models.ts';
import type { Config } from '../stages/config/config-schema.ts';
import {
  createTextVectors,
  readEvaluatedAttacks,
  type TextVectors,
  textsToEmbed,
} from './attacks/evaluated-attacks.ts';
import { type ReportPage, renderReportPage } from './report-page.ts';
import { readRun } from './run-overview.ts';

export interface WriteReportOptions {
  /** Default: `report.html` in the run folder. */
  readonly path?: string;
  /** False: attacks and responses are left out of the file. */
  readonly withTexts: boolean;
}

export interface WrittenReport {
  readonly path: string;
  readonly bytes: number;
  /** Texts that a reader can unmask. */
  readonly texts: number;
  /** Why map and clusters are missing; undefined when they are there. */
  readonly withoutEncoder: string | undefined;
}

/** Texts of one call of the encoder, so that progress moves and memory stays small. */
const EMBED_BATCH = 128;

async function embedAll(texts: readonly string[], config: Config, context: CliContext): Promise<Float32Array> {
  const { cacheDir, progress } = context;
  const threads = config.threads ?? defaultThreads();
  const models = createOpenModels({ threads, progress, ...(cacheDir === undefined ? {} : { cacheDir }) });
  const { encoder } = await openRunEncoder(config, models);
  const bar = progress.start('report: embedding attacks', texts.length, 'attacks');
  try {
    const flat = new Float32Array(texts.length * encoder.width);
    for (let first = 0; first < texts.length; first += EMBED_BATCH) {
      flat.set(await encoder.embed(texts.slice(first, first + EMBED_BATCH)), first * encoder.width);
      bar.update(Math.min(first + EMBED_BATCH, texts.length));
    }
    return flat;
  } finally {
    bar.finish();
    await encoder.close();
  }
}

/** Embeddings for the page's map and clusters; a run can be read on a machine that lacks its encoder. */
async function embedTexts(texts: readonly string[], config: Config, context: CliContext): Promise<TextVectors> {
  const encoder = config.encoder.model;
  if (texts.length === 0) return { kind: 'missing', encoder, reason: 'no attack was evaluated' };
  try {
    return createTextVectors(encoder, texts, await embedAll(texts, config, context));
  } catch (error) {
    if (!(error instanceof FloodgateError) || error.code !== 'source') throw error;
    return { kind: 'missing', encoder, reason: 'it is not on the machine that made this page' };
  }
}

/**
 * Writes the page of a run as its database stands.
 * @throws FloodgateError `run` when nothing was measured yet; `store` when the disk refuses.
 */
export async function writeReportPage(
  folder: RunFolder,
  { path = join(folder.path, 'report.html'), withTexts }: WriteReportOptions,
  context: CliContext,
): Promise<WrittenReport> {
  const config = await loadRunConfig(folder);
  const { page, vectors } = await readRun(folder, async ({ report, manifest }, store) => {
    if (report === undefined || manifest === undefined || store === undefined)
      throw new FloodgateError('run', `report ${folder.name}: nothing has been measured yet`, {
        hint: `floodgate resume ${folder.name} continues the run`,
      });
    const texts = textsToEmbed(readEvaluatedAttacks(store, report));
    const made = await embedTexts(texts, config, context);
    const rendered: ReportPage = renderReportPage({ store, report, manifest, config, vectors: made }, { withTexts });
    return { page: rendered, vectors: made };
  });
  await writeFileAtomically(path, (file) => file.writeFile(page.markup));
  return {
    path,
    bytes: Buffer.byteLength(page.markup),
    texts: page.texts,
    withoutEncoder: vectors.kind === 'missing' ? vectors.reason : undefined,
  };
}
