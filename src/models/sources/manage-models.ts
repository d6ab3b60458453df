import { FloodgateError } from '../../base/errors.ts';
import { withLock } from '../../base/lock.ts';
import { CATALOGUE, type CatalogueEntry } from './catalogue.ts';
import { type FileFault, findFaults, listCachedModels, readManifest, removeSlot } from './model-cache.ts';
import { type FetchedLocation, locateModel } from './model-location.ts';
import { pullCommand } from './resolve-model.ts';
import { type SourceOptions, settleSourceOptions } from './source-environment.ts';

/** One line of `floodgate models list`. */
export interface ListedModel {
  readonly name: string;
  readonly role: CatalogueEntry['role'] | undefined;
  readonly title: string;
  readonly licence: string | undefined;
  /** `built in`: ships with Floodgate; `cached`: on this machine; `missing`: available by a pull. */
  readonly state: 'built in' | 'cached' | 'missing';
  /** False for hub models of the catalogue: we have not opened their files; the first pull records their sha256s. */
  readonly isTriedHere: boolean;
  /** Bytes on disk, when cached. */
  readonly bytes: number | undefined;
  readonly spec: string | undefined;
}

/** Lists the catalogue, then every other model in the cache. */
export async function listModels(options: SourceOptions = {}): Promise<readonly ListedModel[]> {
  const { cacheDir } = settleSourceOptions(options);
  const cached = new Map<string, number>();
  for (const { manifest } of await listCachedModels(cacheDir)) {
    cached.set(
      manifest.spec,
      manifest.files.reduce((sum, file) => sum + file.bytes, 0),
    );
  }
  const catalogued = CATALOGUE.map((entry): ListedModel => {
    const { name, role, title, licence } = entry;
    const spec = entry.kind === 'built-in' ? undefined : entry.spec;
    const bytes = spec === undefined ? undefined : cached.get(spec);
    const state = entry.kind === 'built-in' ? 'built in' : bytes === undefined ? 'missing' : 'cached';
    return { name, role, title, licence, state, isTriedHere: entry.kind !== 'hub', bytes, spec };
  });
  const known = new Set(catalogued.map((model) => model.spec));
  const others = [...cached].filter(([spec]) => !known.has(spec));
  const uncatalogued = others.map(([spec, bytes]): ListedModel => {
    const title = 'not in the catalogue';
    return { name: spec, role: undefined, title, licence: undefined, state: 'cached', isTriedHere: false, bytes, spec };
  });
  return [...catalogued, ...uncatalogued];
}

export interface VerifiedModel {
  readonly name: string;
  readonly files: number;
  /** Empty when every file matches the manifest. */
  readonly faults: readonly FileFault[];
}

/**
 * Hashes every file of a cached model, or of all of them when `spec` is undefined.
 * @throws FloodgateError `source` when the named model is not in the cache.
 */
export async function verifyModels(
  spec: string | undefined,
  options: SourceOptions = {},
): Promise<readonly VerifiedModel[]> {
  const { cacheDir } = settleSourceOptions(options);
  const specs = spec === undefined ? (await listCachedModels(cacheDir)).map(({ manifest }) => manifest.spec) : [spec];
  const verified: VerifiedModel[] = [];
  for (const text of specs) {
    const location = locateFetchedModel(text, cacheDir);
    const manifest = await readManifest(location.slot.folder);
    if (manifest === undefined) throw notCached('verify', location);
    const faults = await findFaults(location.slot.folder, manifest, { isThorough: true });
    verified.push({ name: location.name, files: manifest.files.length, faults });
  }
  return verified;
}

/**
 * Removes a model from the cache, unfinished downloads included; returns its name. Keeps the record of its first pull
 * unless `isForgetting`, so that a later pull must fetch the same bytes.
 * @throws FloodgateError `source` when there was nothing to remove; `usage` for a path.
 */
export async function removeModel(spec: string, isForgetting: boolean, options: SourceOptions = {}): Promise<string> {
  const { cacheDir, signal } = settleSourceOptions(options);
  const location = locateFetchedModel(spec, cacheDir);
  const hasRemoved = await withLock(location.slot.lockPath, { signal }, () => removeSlot(location.slot, isForgetting));
  if (!hasRemoved) throw notCached('remove', location);
  return location.name;
}

function locateFetchedModel(spec: string, cacheDir: string): FetchedLocation {
  const location = locateModel(spec, cacheDir);
  if (location.kind === 'fetched') return location;
  throw new FloodgateError('usage', `find model ${spec}: it is a path, expected a model of the cache`, {
    hint: 'floodgate models list shows the models of the cache',
  });
}

function notCached(operation: string, location: FetchedLocation): FloodgateError {
  return new FloodgateError('source', `${operation} model ${location.name}: it is not in the model cache`, {
    hint: pullCommand(location),
  });
}
