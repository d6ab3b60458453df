import type { StreamedTensor } from '../formats/safetensors.ts';
import type { WeightEntry } from '../formats/weight-store.ts';

/** The weights of one model as its files hold them, under normalised names, before they are one fp32 file. */
export interface WeightFiles {
  /** Every weight of the model, in file order; nothing is read before its `pieces` are asked for. */
  readonly tensors: readonly StreamedTensor[];
  /** Set when one file already holds every tensor as plain fp32: it can serve as it lies. */
  readonly asItLies: { readonly path: string; readonly tensors: ReadonlyMap<string, WeightEntry> } | undefined;
}

/** Bytes of a source file that are converted at a time: a tensor need not fit in memory. */
export const PIECE_BYTES = 4 * 1024 * 1024;
