import { rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import { type ProgressSink, silentProgress } from '../../base/progress.ts';
import type { GraphBuilder } from '../../engine/graph/builder.ts';
import type { Value } from '../../engine/graph/ops.ts';
import { bytesToFloat } from '../formats/half-float.ts';
import { openRandomAccessFile } from '../formats/random-access-file.ts';
import type { WeightEntry, WeightStore } from '../formats/weight-store.ts';
import {
  balanceChannels,
  type ChannelMaxima,
  largestWeights,
  type QuantisedLinear,
  quantiseColumns,
} from './quantise.ts';

/** Form of a frozen model's weights. */
export type Precision = 'fp32' | 'int8';

/** Position of one quantised weight: int8 * scale of its output * balance of its input. */
interface Int8Entry {
  /** int8 [in, out] */
  readonly weight: WeightEntry;
  /** float32 [out] */
  readonly scales: WeightEntry;
  /** float32 [in]: factors of the input's channels, powers of two. */
  readonly balance: WeightEntry;
}

/** Quantised weights of a frozen model, in one file beside its fp32 weights. */
export interface Int8Store {
  readonly path: string;
  /** By the name of the fp32 weight. */
  readonly entries: ReadonlyMap<string, Int8Entry>;
}

const FORMAT_VERSION = 2;
const ALIGNMENT = 64;

function layoutOf(linears: readonly QuantisedLinear[]): { entries: Map<string, Int8Entry>; byteLength: number } {
  const entries = new Map<string, Int8Entry>();
  let offset = 0;
  const place = (byteLength: number, shape: readonly number[]): WeightEntry => {
    const entry = { offset, byteLength, shape };
    offset = Math.ceil((offset + byteLength) / ALIGNMENT) * ALIGNMENT;
    return entry;
  };
  for (const { weight, inSize, outSize } of linears) {
    entries.set(weight, {
      weight: place(inSize * outSize, [inSize, outSize]),
      scales: place(4 * outSize, [outSize]),
      balance: place(4 * inSize, [inSize]),
    });
  }
  return { entries, byteLength: offset };
}

async function writeInt8Weights(
  target: string,
  { linears, weights, maxima }: { linears: readonly QuantisedLinear[]; weights: WeightStore; maxima: ChannelMaxima },
  progress: ProgressSink,
): Promise<void> {
  const { entries, byteLength } = layoutOf(linears);
  const stage = progress.start('convert weights to int8', byteLength, 'bytes');
  let done = 0;
  await using source = await openRandomAccessFile(weights.path);
  await writeFileAtomically(target, async (handle) => {
    for (const linear of linears) {
      const entry = entries.get(linear.weight) as Int8Entry;
      const { offset, byteLength: size } = weights.tensors.get(linear.weight) as WeightEntry;
      const values = bytesToFloat(await source.read(offset, size));
      const inputs = maxima.get(linear.weight) ?? new Float32Array(linear.inSize);
      const balance = balanceChannels(inputs, largestWeights(values, linear));
      const quantised = quantiseColumns(values, linear, balance);
      const parts = [
        [quantised.weight, entry.weight],
        [quantised.scales, entry.scales],
        [balance, entry.balance],
      ] as const;
      for (const [{ buffer, byteLength: bytes }, place] of parts)
        await handle.write(new Uint8Array(buffer), 0, bytes, place.offset);
      done += quantised.weight.byteLength;
      stage.update(done);
    }
    await handle.truncate(byteLength);
  });
  stage.finish();
}

/** Two models may share a folder: the name is that of the fp32 weight file. */
const fileName = (weights: string, version: number): string => `${weights}-int8-v${version}.bin`;

/** Removes what earlier versions of Floodgate made from the same weights: nothing reads it any more. */
async function removeEarlier(folder: string, weights: string): Promise<void> {
  for (let version = 1; version < FORMAT_VERSION; version++)
    // A file that the system keeps costs its space only.
    await rm(path.join(folder, fileName(weights, version)), { force: true }).catch(() => undefined);
}

/**
 * Opens the quantised weights of a frozen model; makes them once, beside its fp32 weight file. Files that an earlier
 * version made there are then removed.
 *
 * @param observe the largest input of every channel on some texts (`observeInputs`), asked for only where the file is
 * made.
 * @throws FloodgateError `store` when the disk refuses.
 */
export async function openInt8Weights(
  linears: readonly QuantisedLinear[],
  weights: WeightStore,
  observe: () => Promise<ChannelMaxima>,
  progress: ProgressSink = silentProgress,
): Promise<Int8Store> {
  const { dir, name } = path.parse(weights.path);
  const target = path.join(dir, fileName(name, FORMAT_VERSION));
  const { entries, byteLength } = layoutOf(linears);
  const existing = await stat(target).catch(() => undefined);
  if (existing?.size !== byteLength) {
    await writeInt8Weights(target, { linears, weights, maxima: await observe() }, progress);
    await removeEarlier(dir, name);
  }
  return { path: target, entries };
}

/** x [N, in] by the quantised weight -> [N, out]; undefined where the store does not have that weight. */
export function int8Linear(g: GraphBuilder, { path: file, entries }: Int8Store, name: string, x: Value) {
  const entry = entries.get(name);
  if (entry === undefined) return undefined;
  const location = path.basename(file);
  const external = (part: keyof Int8Entry, dtype: 'int8' | 'float32'): Value =>
    g.externalWeight(`${name}.int8.${part}`, entry[part].shape, { location, ...entry[part], dtype });
  const balanced = g.multiply(x, external('balance', 'float32'));
  return g.int8Linear(balanced, external('weight', 'int8'), external('scales', 'float32'));
}
