import type { FileHandle } from 'node:fs/promises';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import { bfloatToFloat, bytesToFloat, halfToFloat } from './half-float.ts';
import { openRandomAccessFile, type RandomAccessFile } from './random-access-file.ts';
import {
  buildSafetensorsHeader,
  type PlannedTensor,
  parseHeaderLength,
  parseSafetensorsHeader,
  type SafetensorsEntry,
  type SafetensorsHeader,
  valueBytes,
} from './safetensors-header.ts';

/** One fp32 tensor in memory, row-major. */
export interface Tensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

export interface SafetensorsContent {
  readonly tensors: Map<string, Tensor>;
  readonly metadata: Map<string, string>;
  /** Tensors U8 [n], which hold bytes of any kind. */
  readonly bytes: Map<string, Uint8Array>;
}

/** One tensor (fp32 unless it says U8) that is written piece by piece, so that it need not fit in memory. */
export interface StreamedTensor extends PlannedTensor {
  /** Its values in order, in pieces of any length. */
  readonly pieces: () => AsyncIterable<Float32Array | Uint8Array>;
}

/** Reads and checks the header of an open file. @throws `format` when it does not hold. */
export async function readSafetensorsHeader(file: RandomAccessFile): Promise<SafetensorsHeader> {
  const prefix = await file.read(0, Math.min(8, file.size));
  const length = parseHeaderLength(prefix, file.size, file.path);
  return parseSafetensorsHeader(await file.read(8, length), file.size, file.path);
}

/** Whether the tensor holds floats that a weight file can use; integers and masks are not weights. */
export function isWeightDtype(entry: SafetensorsEntry): boolean {
  return entry.dtype === 'F32' || entry.dtype === 'F16' || entry.dtype === 'BF16';
}

/** Returns the exact fp32 values of raw tensor bytes. @throws `format` for dtypes that are not weights. */
export function safetensorsToFloat(entry: SafetensorsEntry, bytes: Uint8Array): Float32Array {
  switch (entry.dtype) {
    case 'F32':
      return bytesToFloat(bytes);
    case 'F16':
      return halfToFloat(bytes);
    case 'BF16':
      return bfloatToFloat(bytes);
    default:
      throw new FloodgateError('format', `read tensor: dtype is ${entry.dtype}, expected F32, F16 or BF16`);
  }
}

function isBytes({ dtype, shape }: SafetensorsEntry): boolean {
  return dtype === 'U8' && shape.length === 1;
}

/**
 * Reads every weight of a safetensors file into memory as fp32, and every U8 [n] as bytes; other tensors are left out.
 * @throws `format` when the file is missing or damaged.
 */
export async function readSafetensors(path: string): Promise<SafetensorsContent> {
  await using file = await openRandomAccessFile(path);
  const header = await readSafetensorsHeader(file);
  const tensors = new Map<string, Tensor>();
  const bytes = new Map<string, Uint8Array>();
  for (const [name, entry] of header.tensors) {
    if (!isWeightDtype(entry) && !isBytes(entry)) continue;
    const raw = await file.read(entry.offset, entry.byteLength);
    if (isBytes(entry)) bytes.set(name, new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength));
    else tensors.set(name, { shape: entry.shape, data: safetensorsToFloat(entry, raw) });
  }
  return { tensors, metadata: new Map(header.metadata), bytes };
}

/** Writes all of `bytes`; one system call may take less (2 GiB on Linux). */
async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await handle.write(bytes, done, bytes.length - done)).bytesWritten;
  }
}

async function* onePiece<T>(piece: T): AsyncIterable<T> {
  yield piece;
}

function valueCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/**
 * Streams tensors into one safetensors file, atomically and fsynced. `onWritten` receives the bytes written so far.
 * @throws `format` when a tensor's pieces do not fill its shape, or our own reader would refuse the file; `store` when
 * the disk refuses.
 */
export async function writeSafetensorsStreamed(
  path: string,
  tensors: readonly StreamedTensor[],
  metadata: ReadonlyMap<string, string>,
  onWritten: (bytes: number) => void = () => undefined,
): Promise<void> {
  const names = new Set(tensors.map(({ name }) => name));
  if (names.size !== tensors.length) throw new FloodgateError('format', `write ${path}: two tensors share one name`);
  const header = buildSafetensorsHeader(path, tensors, metadata);
  await writeFileAtomically(path, async (handle) => {
    let written = 0;
    const put = async (bytes: Uint8Array): Promise<void> => {
      await writeAll(handle, bytes);
      written += bytes.length;
      onWritten(written);
    };
    await put(header);
    for (const tensor of tensors) {
      let values = 0;
      for await (const piece of tensor.pieces()) {
        values += piece.byteLength / valueBytes(tensor.dtype);
        await put(new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength));
      }
      if (values !== valueCount(tensor.shape)) {
        throw new FloodgateError('format', `write ${path}: ${tensor.name} gave ${values} values for [${tensor.shape}]`);
      }
    }
  });
}

/**
 * Writes fp32 tensors, string metadata and named bytes (each as a tensor U8 [n]) as one safetensors file, atomically and
 * fsynced.
 * @throws as `writeSafetensorsStreamed`.
 */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, Tensor>,
  metadata: ReadonlyMap<string, string>,
  bytes: ReadonlyMap<string, Uint8Array> = new Map(),
): Promise<void> {
  const streamed = [...tensors].map(([name, { shape, data }]) => ({ name, shape, pieces: () => onePiece(data) }));
  const streamedBytes = [...bytes].map(([name, data]) => {
    return { name, shape: [data.length], dtype: 'U8' as const, pieces: () => onePiece(data) };
  });
  await writeSafetensorsStreamed(path, [...streamed, ...streamedBytes], metadata);
}
