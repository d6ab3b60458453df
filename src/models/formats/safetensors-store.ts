import { FloodgateError } from '../../base/errors.ts';
import { openRandomAccessFile } from './random-access-file.ts';
import { readSafetensorsHeader } from './safetensors.ts';
import type { WeightStore } from './weight-store.ts';

/**
 * A safetensors file of fp32 tensors, as a weight store over the file as it lies.
 *
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
