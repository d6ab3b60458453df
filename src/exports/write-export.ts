import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { partialPathOf, syncFolder, toWriteError, writeFileAtomically } from '../base/atomic-file.ts';
import { monotonicMs } from '../base/clock.ts';
import { FloodgateError } from '../base/errors.ts';
import type { CampaignIo } from '../stages/stage.ts';
import type { ExportFormat, TextFormat } from './export-format.ts';
import type { ExportSource } from './export-source.ts';

/** Where an export goes: a new file or folder, or a function that takes text. */
export type Destination =
  | { readonly kind: 'path'; readonly path: string; readonly isReplaced: boolean }
  | { readonly kind: 'stream'; write(text: string): void };

export interface WrittenExport {
  /** Of a text in UTF-8; null for a folder and for a file of bytes. */
  readonly bytes: number | null;
}

/** Text is gathered up to this size before it is written. */
const CHUNK_CHARACTERS = 1 << 18;
/** The event loop turns so often that Ctrl-C is heard at once. */
const PAUSE_EVERY_MS = 100;

/** Counts attacks as they are read, moves a bar, and stops when the signal says so. */
function watched(source: ExportSource, io: CampaignIo) {
  const bar = io.progress.start(`export ${source.provenance.run}`, source.attackCount, 'attacks');
  let attacks = 0;
  let paused = monotonicMs();
  const counted: ExportSource = {
    ...source,
    *attacks(stages) {
      for (const attack of source.attacks(stages)) {
        attacks++;
        yield attack;
      }
    },
  };
  return {
    source: counted,
    finish: () => {
      bar.update(Math.min(attacks, source.attackCount));
      bar.finish();
    },
    async pause() {
      if (io.signal.aborted)
        throw new FloodgateError('interrupted', `export ${source.provenance.run}: interrupted, it is not whole`, {
          hint: 'export it again',
        });
      if (monotonicMs() - paused < PAUSE_EVERY_MS) return;
      bar.update(Math.min(attacks, source.attackCount));
      await turn();
      paused = monotonicMs();
    },
  };
}

async function* chunksOf(format: TextFormat, source: ExportSource, pause: () => Promise<void>): AsyncGenerator<string> {
  let chunk = '';
  for (const piece of format.pieces(source)) {
    chunk += piece;
    await pause();
    if (chunk.length < CHUNK_CHARACTERS) continue;
    yield chunk;
    chunk = '';
  }
  if (chunk !== '') yield chunk;
}

/** Fills a folder beside its place and renames it; an earlier one is removed only then. */
async function writeFolder(path: string, fill: (partial: string) => Promise<void>): Promise<void> {
  const partial = partialPathOf(path);
  const old = partialPathOf(path);
  try {
    await mkdir(partial, { recursive: true });
    await fill(partial);
    if (existsSync(path)) await rename(path, old);
    await rename(partial, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await rm(partial, { recursive: true, force: true }).catch(() => undefined);
    if (existsSync(old) && !existsSync(path)) await rename(old, path).catch(() => undefined);
    throw toWriteError(path, error);
  }
  await rm(old, { recursive: true, force: true });
}

/** The parts of an exported folder: one with anything else in it is never replaced. */
const FOLDER_PARTS: ReadonlySet<string> = new Set(['README.md', 'data']);

async function refuseForeignFolder(path: string): Promise<void> {
  if (!existsSync(path)) return;
  const names = await readdir(path).catch((cause: unknown) => {
    throw toWriteError(path, cause);
  });
  const other = names.find((name) => !FOLDER_PARTS.has(name));
  if (other === undefined) return;
  throw new FloodgateError('usage', `export: ${path} is no exported data set, it holds ${other}`, {
    hint: 'name another folder with --out; --force replaces an exported one only',
  });
}

function refuseTaken(path: string): void {
  if (!existsSync(path)) return;
  throw new FloodgateError('usage', `export: ${basename(path)} exists already, got ${path}`, {
    hint: 'name another with --out, or --force to overwrite it',
  });
}

/**
 * Writes an export so that its place holds the whole of it or what was there before.
 * @throws FloodgateError `usage` where something exists that is not to be replaced, or for a stream that the format
 * cannot go to; `store` when the disk refuses; `interrupted` on abort.
 */
export async function writeExport(
  format: ExportFormat,
  source: ExportSource,
  destination: Destination,
  io: CampaignIo,
): Promise<WrittenExport> {
  const watch = watched(source, io);
  const drain = async (steps: AsyncIterable<void>): Promise<void> => {
    for await (const _ of steps) await watch.pause();
  };
  try {
    if (destination.kind === 'stream') return await writeStream(format, watch, destination.write);
    const { path, isReplaced } = destination;
    if (!isReplaced) refuseTaken(path);
    if (format.kind === 'folder') {
      await refuseForeignFolder(path);
      await writeFolder(path, (partial) => drain(format.fill(watch.source, partial)));
      return { bytes: null };
    }
    let bytes = 0;
    await writeFileAtomically(path, async (handle) => {
      if (format.kind === 'file') return drain(format.write(watch.source, handle));
      for await (const chunk of chunksOf(format, watch.source, watch.pause)) {
        const data = Buffer.from(chunk, 'utf8');
        bytes += data.length;
        await handle.appendFile(data);
      }
    });
    return { bytes: format.kind === 'file' ? null : bytes };
  } finally {
    watch.finish();
  }
}

async function writeStream(
  format: ExportFormat,
  { source, pause }: ReturnType<typeof watched>,
  write: (text: string) => void,
): Promise<WrittenExport> {
  if (format.kind !== 'text') throw needsPlace(format);
  let bytes = 0;
  for await (const chunk of chunksOf(format, source, pause)) {
    bytes += Buffer.byteLength(chunk);
    write(chunk);
  }
  return { bytes };
}

/** The error of a format that is no text, where no file was named. */
export function needsPlace({ name, kind }: Exclude<ExportFormat, TextFormat>): FloodgateError {
  const what = kind === 'folder' ? 'a folder' : 'a file of bytes';
  return new FloodgateError('usage', `export --format ${name}: it is ${what}, got no --out`, {
    hint: `--out ${kind === 'folder' ? 'FOLDER' : 'FILE'} says where it goes`,
  });
}
