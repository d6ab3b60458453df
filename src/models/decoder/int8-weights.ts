import { stat } from 'node:fs/promises';
import path from 'node:path';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import type { DecoderConfig } from '../checkpoint/decoder-config.ts';
import { bytesToFloat } from '../formats/half-float.ts';
import { openRandomAccessFile, type RandomAccessFile } from '../formats/random-access-file.ts';
import type { WeightEntry, WeightStore } from '../formats/weight-store.ts';
import { decoderProjections, type Projection } from './lora.ts';

/** Position of one projection's quantised weight. */
export interface Int8Entry {
  /** int8 [in, out] */
  readonly weight: WeightEntry;
  /** float32 [out]: weight = scale * int8. */
  readonly scales: WeightEntry;
}

/** Quantised projections of a frozen decoder, in one file beside its fp32 weights. */
export interface Int8Store {
  readonly path: string;
  /** By module path; projections that stay in fp32 are absent. */
  readonly entries: ReadonlyMap<string, Int8Entry>;
}

const FORMAT_VERSION = 1;
const ALIGNMENT = 64;
const LARGEST = 127;

/**
 * Every projection except the last of the feed-forward block. Its inputs have outlier channels, and one large
 * activation makes a whole tensor's scale coarser (measured: docs/performance.md). The head stays in fp32 too.
 */
export function int8Projections(config: DecoderConfig): Projection[] {
  return decoderProjections(config).filter(({ module }) => !/mlp\.(down_proj|c_proj)$/.test(module));
}

function layout(config: DecoderConfig): { entries: Map<string, Int8Entry>; byteLength: number } {
  const entries = new Map<string, Int8Entry>();
  let offset = 0;
  const place = (byteLength: number, shape: readonly number[]): WeightEntry => {
    const entry = { offset, byteLength, shape };
    offset = Math.ceil((offset + byteLength) / ALIGNMENT) * ALIGNMENT;
    return entry;
  };
  for (const { module, inSize, outSize } of int8Projections(config)) {
    const weight = place(inSize * outSize, [inSize, outSize]);
    entries.set(module, { weight, scales: place(4 * outSize, [outSize]) });
  }
  return { entries, byteLength: offset };
}

/** Quantises to symmetric int8 with one scale for each output: weights [in, out] and scales [out]. */
export function quantiseColumns(
  values: Float32Array,
  { inSize, outSize }: { readonly inSize: number; readonly outSize: number },
  isOutIn: boolean,
): { weight: Int8Array; scales: Float32Array } {
  const at = (i: number, o: number): number => values[isOutIn ? o * inSize + i : i * outSize + o] as number;
  const weight = new Int8Array(inSize * outSize);
  const scales = new Float32Array(outSize);
  for (let o = 0; o < outSize; o++) {
    let largest = 0;
    for (let i = 0; i < inSize; i++) largest = Math.max(largest, Math.abs(at(i, o)));
    const scale = Math.fround(largest / LARGEST) || 1;
    scales[o] = scale;
    for (let i = 0; i < inSize; i++) weight[i * outSize + o] = Math.round(at(i, o) / scale);
  }
  return { weight, scales };
}

async function readTensor(file: RandomAccessFile, { offset, byteLength }: WeightEntry): Promise<Float32Array> {
  return bytesToFloat(await file.read(offset, byteLength));
}

/**
 * Opens the quantised weights of a frozen decoder; makes them once, beside its fp32 weight file.
 *
 * @throws FloodgateError `store` when the disk refuses.
 */
export async function openInt8Weights(config: DecoderConfig, weights: WeightStore): Promise<Int8Store> {
  const { dir, name } = path.parse(weights.path);
  const target = path.join(dir, `${name}-int8-v${FORMAT_VERSION}.bin`); // two models may share a folder
  const { entries, byteLength } = layout(config);
  const existing = await stat(target).catch(() => undefined);
  if (existing?.size === byteLength) return { path: target, entries };
  await using source = await openRandomAccessFile(weights.path);
  await writeFileAtomically(target, async (handle) => {
    for (const { module, inSize, outSize } of int8Projections(config)) {
      const entry = entries.get(module) as Int8Entry;
      const tensor = weights.tensors.get(`${module}.weight`) as WeightEntry;
      const quantised = quantiseColumns(
        await readTensor(source, tensor),
        { inSize, outSize },
        config.family !== 'gpt2',
      );
      await handle.write(quantised.weight, 0, quantised.weight.byteLength, entry.weight.offset);
      const scales = new Uint8Array(quantised.scales.buffer);
      await handle.write(scales, 0, scales.byteLength, entry.scales.offset);
    }
    await handle.truncate(byteLength);
  });
  return { path: target, entries };
}
