import { dirname, join } from 'node:path';
import { z } from 'zod';
import { FloodgateError } from '../../base/errors.ts';
import { parseFields, readJsonFile } from '../formats/json-file.ts';
import { openRandomAccessFile } from '../formats/random-access-file.ts';
import {
  isWeightDtype,
  readSafetensorsHeader,
  type StreamedTensor,
  safetensorsToFloat,
} from '../formats/safetensors.ts';
import type { SafetensorsEntry } from '../formats/safetensors-header.ts';
import type { WeightEntry } from '../formats/weight-store.ts';
import { PIECE_BYTES, type WeightFiles } from './weight-cache.ts';

/** A tensor of one of a model's safetensors files. */
export interface LocatedTensor extends SafetensorsEntry {
  readonly path: string;
}

/** An index of gigabytes: real ones list some thousands of names. */
const MAX_INDEX_BYTES = 16 * 1024 * 1024;
/** An index that names millions of files. */
const MAX_SHARDS = 1024;

const indexFields = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

/**
 * Returns the sorted paths of the shards that a `model.safetensors.index.json` names.
 * @throws `format` when a name leaves the folder or the index is damaged.
 */
export async function readShardPaths(indexPath: string): Promise<string[]> {
  const index = parseFields(indexFields, await readJsonFile(indexPath, MAX_INDEX_BYTES), `read ${indexPath}`);
  const names = [...new Set(Object.values(index.weight_map))].sort();
  if (names.length === 0 || names.length > MAX_SHARDS) {
    throw new FloodgateError('format', `read ${indexPath}: got ${names.length} shards, expected 1 to ${MAX_SHARDS}`);
  }
  for (const name of names) {
    // The index may be hostile: `../../x` must not make us read another file.
    if (!/^[A-Za-z0-9_][A-Za-z0-9._-]*\.safetensors$/.test(name)) {
      throw new FloodgateError(
        'format',
        `read ${indexPath}: shard name ${JSON.stringify(name)} is not a plain file name`,
      );
    }
  }
  return names.map((name) => join(dirname(indexPath), name));
}

/**
 * Locates every float tensor of the files under the name that `rename` returns; omits those without a name.
 * @throws `format` when a file is damaged or two tensors get one name.
 */
export async function locateTensors(
  paths: readonly string[],
  rename: (name: string) => string | undefined,
): Promise<Map<string, LocatedTensor>> {
  const located = new Map<string, LocatedTensor>();
  for (const path of paths) {
    await using file = await openRandomAccessFile(path);
    const header = await readSafetensorsHeader(file);
    for (const [original, entry] of header.tensors) {
      const name = isWeightDtype(entry) ? rename(original) : undefined;
      if (name === undefined) continue;
      if (located.has(name)) throw new FloodgateError('format', `read ${path}: tensor ${name} occurs twice`);
      located.set(name, { ...entry, path });
    }
  }
  return located;
}

async function* readPieces(tensor: LocatedTensor): AsyncIterable<Float32Array> {
  await using file = await openRandomAccessFile(tensor.path);
  for (let done = 0; done < tensor.byteLength; done += PIECE_BYTES) {
    const bytes = await file.read(tensor.offset + done, Math.min(PIECE_BYTES, tensor.byteLength - done));
    yield safetensorsToFloat(tensor, bytes);
  }
}

/** Returns the file that holds all tensors as fp32, aligned for a mapped read; undefined when there is none. */
function findPlainFp32(tensors: ReadonlyMap<string, LocatedTensor>): WeightFiles['plainFp32'] {
  const all = [...tensors.values()];
  const path = all[0]?.path;
  const isPlain = all.every((tensor) => tensor.path === path && tensor.dtype === 'F32' && tensor.offset % 4 === 0);
  if (path === undefined || !isPlain) return undefined;
  const entries = new Map<string, WeightEntry>();
  for (const [name, { shape, offset, byteLength }] of tensors) entries.set(name, { shape, offset, byteLength });
  return { path, tensors: entries };
}

/** Returns the chosen tensors as the weights of a model: used in place where possible, else to be converted. */
export function safetensorsWeightFiles(tensors: ReadonlyMap<string, LocatedTensor>): WeightFiles {
  const streamed = [...tensors].map(
    ([name, tensor]): StreamedTensor => ({ name, shape: tensor.shape, pieces: () => readPieces(tensor) }),
  );
  return { tensors: streamed, plainFp32: findPlainFp32(tensors) };
}
