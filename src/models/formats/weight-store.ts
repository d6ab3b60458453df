/** One fp32 tensor inside a weight file: where it lies, so that ONNX can read it as external data without a copy. */
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
