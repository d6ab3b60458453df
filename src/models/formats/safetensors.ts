import type { FileHandle } from 'node:fs/promises';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import { bfloatToFloat, bytesToFloat, halfToFloat } from './half-float.ts';
import { openRandomAccessFile, type RandomAccessFile } from './random-access-file.ts';
import {
  buildSafetensorsHeader,
  parseHeaderLength,
  parseSafetensorsHeader,
  type SafetensorsEntry,
  type SafetensorsHeader,
} from './safetensors-header.ts';

/** One fp32 tensor in memory, row-major. */
export interface Tensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

export interface SafetensorsContent {
  readonly tensors: Map<string, Tensor>;
  readonly metadata: Map<string, string>;
}

/** One fp32 tensor that is written piece by piece, so that it need not fit in memory. */
export interface StreamedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** Its values in order, in pieces of any length. */
  readonly pieces: () => AsyncIterable<Float32Array>;
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

/**
 * Reads every weight of a safetensors file into memory as fp32; integer tensors are left out.
 * @throws `format` when the file is missing or damaged.
 */
export async function readSafetensors(path: string): Promise<SafetensorsContent> {
  await using file = await openRandomAccessFile(path);
  const header = await readSafetensorsHeader(file);
  const tensors = new Map<string, Tensor>();
  for (const [name, entry] of header.tensors) {
    if (!isWeightDtype(entry)) continue;
    const bytes = await file.read(entry.offset, entry.byteLength);
    tensors.set(name, { shape: entry.shape, data: safetensorsToFloat(entry, bytes) });
  }
  return { tensors, metadata: new Map(header.metadata) };
}

/** Writes all of `bytes`; one system call may take less (2 GiB on Linux). */
async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await handle.write(bytes, done, bytes.length - done)).bytesWritten;
  }
}

function valueCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/**
 * Streams fp32 tensors into one safetensors file, atomically and fsynced. `onWritten` receives the bytes written so
 * far.
 * @throws `format` when a tensor's pieces do not fill its shape; `store` when the disk refuses.
 */
export async function writeSafetensorsStreamed(
  path: string,
  tensors: readonly StreamedTensor[],
  metadata: ReadonlyMap<string, string>,
  onWritten: (bytes: number) => void = () => undefined,
): Promise<void> {
  const shapes = new Map(tensors.map((tensor) => [tensor.name, tensor.shape]));
  if (shapes.size !== tensors.length) throw new FloodgateError('format', `write ${path}: two tensors share one name`);
  await writeFileAtomically(path, async (handle) => {
    let written = 0;
    const put = async (bytes: Uint8Array): Promise<void> => {
      await writeAll(handle, bytes);
      written += bytes.length;
      onWritten(written);
    };
    await put(buildSafetensorsHeader(shapes, metadata));
    for (const tensor of tensors) {
      let values = 0;
      for await (const piece of tensor.pieces()) {
        values += piece.length;
        await put(new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength));
      }
      if (values !== valueCount(tensor.shape)) {
        throw new FloodgateError('format', `write ${path}: ${tensor.name} gave ${values} values for [${tensor.shape}]`);
      }
    }
  });
}

/**
 * Writes fp32 tensors and string metadata as one safetensors file, atomically and fsynced.
 * @throws as `writeSafetensorsStreamed`.
 */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, Tensor>,
  metadata: ReadonlyMap<string, string>,
): Promise<void> {
  const streamed = [...tensors].map(([name, { shape, data }]) => ({
    name,
    shape,
    pieces: async function* () {
      yield data;
    },
  }));
  await writeSafetensorsStreamed(path, streamed, metadata);
}
