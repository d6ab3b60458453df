import { FloodgateError } from '../../base/errors.ts';
import { openRandomAccessFile } from './random-access-file.ts';
import { readSafetensorsHeader } from './safetensors.ts';

/** Position of one fp32 tensor inside a weight file. ONNX reads it there as external data, without a copy. */
export interface WeightEntry {
  /** Row-major, in the Hugging Face layout of the family (Llama `[out, in]`, GPT-2 Conv1D `[in, out]`). */
  readonly shape: readonly number[];
  /** Bytes from the start of the file. */
  readonly offset: number;
  readonly byteLength: number;
}

/** A file of little-endian fp32 tensors under their Hugging Face names. */
export interface WeightStore {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, WeightEntry>;
}

/**
 * Opens a safetensors file of fp32 tensors as a weight store. Reads the header only.
 * @throws FloodgateError `format` when a tensor is not F32.
 */
export async function openSafetensorsStore(path: string): Promise<WeightStore> {
  await using file = await openRandomAccessFile(path);
  const header = await readSafetensorsHeader(file);
  const tensors = new Map(
    [...header.tensors].map(([name, { dtype, shape, offset, byteLength }]) => {
      if (dtype !== 'F32') {
        throw new FloodgateError('format', `open weights ${path}: tensor ${name} is ${dtype}, expected F32`);
      }
      return [name, { shape, offset, byteLength }];
    }),
  );
  return { path, tensors };
}
