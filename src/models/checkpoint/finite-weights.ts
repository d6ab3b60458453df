import { FloodgateError } from '../../base/errors.ts';
import type { StreamedTensor } from '../formats/safetensors.ts';

/** Exponent bits of an fp32 number: all of them are set in NaN and infinity, and in nothing else. */
const EXPONENT_BITS = 0x7f80_0000;

/** Index of the first value that is NaN or infinite; -1 when every value is a number. */
function findNonFinite(values: Float32Array): number {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) if (((bits[i] as number) & EXPONENT_BITS) === EXPONENT_BITS) return i;
  return -1;
}

async function* checkedPieces({ name, pieces }: StreamedTensor): AsyncIterable<Float32Array | Uint8Array> {
  let before = 0;
  for await (const piece of pieces()) {
    const at = piece instanceof Float32Array ? findNonFinite(piece) : -1;
    if (at >= 0) {
      throw new FloodgateError(
        'format',
        `read weights: tensor ${name} is damaged, got ${piece[at]} as value ${before + at} (fp32), expected a number`,
      );
    }
    before += piece.length;
    yield piece;
  }
}

/**
 * The same tensor, whose pieces throw `format` at the first value that is NaN or infinite. A model with such a weight
 * answers with nonsense that may look safe.
 */
export function withFiniteCheck(tensor: StreamedTensor): StreamedTensor {
  return { ...tensor, pieces: () => checkedPieces(tensor) };
}

/** Reads every value of the tensors. @throws `format` naming the first that is NaN or infinite. */
export async function checkFinite(tensors: readonly StreamedTensor[]): Promise<void> {
  for (const tensor of tensors) for await (const _piece of checkedPieces(tensor));
}
