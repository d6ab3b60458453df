import { FloodgateError } from '../../base/errors.ts';
import { nearestName } from '../../base/nearest-name.ts';
import {
  CATALOGUE,
  type CatalogueEntry,
  findCatalogueEntry,
  findEntryOfSpec,
  type HubEntry,
  type WheelEntry,
} from './catalogue.ts';
import { type CacheSlot, cacheSlotOf } from './model-cache.ts';
import {
  type HubSpec,
  type ModelSpec,
  type PathSpec,
  parseModelSpec,
  specToText,
  type WheelSpec,
} from './model-spec.ts';

/** A model that is fetched: its source, its place in the cache, and its catalogue entry. */
export interface FetchedLocation {
  readonly kind: 'fetched';
  /** Catalogue name where there is one, else the canonical spec. */
  readonly name: string;
  readonly spec: HubSpec | WheelSpec;
  readonly specText: string;
  readonly entry: WheelEntry | HubEntry | undefined;
  readonly slot: CacheSlot;
}

export type ModelLocation = PathSpec | FetchedLocation;

/**
 * Finds the place of the model that a spec names.
 * @throws FloodgateError `usage` for a spec that cannot be read, an unknown name, or a built-in model.
 */
export function locateModel(text: string, cacheDir: string): ModelLocation {
  const spec = parseModelSpec(text);
  if (spec.kind === 'path') return spec;
  if (spec.kind !== 'name') return locateFetched(spec, cacheDir, findEntryOfSpec(specToText(spec)));
  const entry = findCatalogueEntry(spec.name);
  if (entry === undefined) throw unknownName(spec.name);
  if (entry.kind === 'built-in') throw builtIn(entry);
  const named: ModelSpec = parseModelSpec(entry.spec);
  if (named.kind !== 'hub' && named.kind !== 'wheel') throw unknownName(spec.name);
  return locateFetched(named, cacheDir, entry);
}

function locateFetched(
  spec: HubSpec | WheelSpec,
  cacheDir: string,
  entry: WheelEntry | HubEntry | undefined,
): FetchedLocation {
  const specText = specToText(spec);
  return {
    kind: 'fetched',
    name: entry?.name ?? specText,
    spec,
    specText,
    entry,
    slot: cacheSlotOf(cacheDir, specText),
  };
}

function unknownName(name: string): FloodgateError {
  const nearest = nearestName(
    name,
    CATALOGUE.map((entry) => entry.name),
  );
  const expected = nearest === undefined ? 'a name of the catalogue' : `perhaps ${nearest}`;
  return new FloodgateError('usage', `find model ${name}: no such name, got ${name}, expected ${expected}`, {
    hint: `floodgate models list shows the names; write ./${name} for a folder of that name`,
  });
}

function builtIn(entry: CatalogueEntry): FloodgateError {
  return new FloodgateError('usage', `find model ${entry.name}: it is a judge that ships with Floodgate`, {
    hint: 'name it as a judge in the config; there is nothing to pull',
  });
}
