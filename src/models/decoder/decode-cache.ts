import type { Tensor } from 'onnxruntime-node';
import { float32Data, float32Tensor } from '../../engine/runtime/tensors.ts';
import type { DecoderConfig } from '../checkpoint/decoder-config.ts';
import { attentionWindow, MASKED } from './attention-window.ts';

/** Outputs of a prefill: keys and values of the shared prefix and of each prompt's own tokens. */
export interface Prefill {
  readonly outputs: Readonly<Record<string, Tensor>>;
  /** Padded length R of the prompts' own tokens. */
  readonly rowTokens: number;
}

/**
 * Keys and values of the live sequences beyond the shared prefix: [B, G, S, K] for each layer. Buffers grow on demand
 * and are kept between calls. The last live row overwrites a finished one.
 */
export class DecodeCache {
  private readonly config: DecoderConfig;
  /** Tokens that the windowed layers see; undefined when the window never limits them. */
  private readonly window: number | undefined;
  private readonly keys: Float32Array[];
  private readonly values: Float32Array[];
  private capacity = 0;
  private slots = 0;
  private prefix: Record<string, Tensor> = {};

  constructor(config: DecoderConfig, contextTokens: number) {
    this.config = config;
    this.window = attentionWindow(config, contextTokens);
    const empty = (): Float32Array[] => Array.from({ length: config.layers }, () => new Float32Array(0));
    this.keys = empty();
    this.values = empty();
  }

  /** Resets the cache to a prefill, with room for `rows` sequences of up to `slots` own tokens. */
  reset(prefill: Prefill, rows: number, slots: number): void {
    this.slots = slots;
    const size = rows * this.rowSize();
    if (size > this.capacity) {
      this.capacity = size;
      for (let layer = 0; layer < this.config.layers; layer++) {
        this.keys[layer] = new Float32Array(size);
        this.values[layer] = new Float32Array(size);
      }
    }
    this.prefix = Object.fromEntries(
      Object.entries(prefill.outputs).filter(
        ([name]) => name.startsWith('prefixKey.') || name.startsWith('prefixValue.'),
      ),
    );
  }

  private rowSize(): number {
    return this.config.kvHeads * this.slots * this.config.headWidth;
  }

  /** Copies `length` own tokens of prompt `from` into sequence `row`. */
  fill(row: number, { outputs, rowTokens }: Prefill, from: number, length: number): void {
    const { kvHeads, headWidth: K, layers } = this.config;
    for (let layer = 0; layer < layers; layer++) {
      for (const [name, buffers] of [
        ['rowKey', this.keys],
        ['rowValue', this.values],
      ] as const) {
        const source = float32Data(outputs[`${name}.${layer}`]);
        for (let head = 0; head < kvHeads; head++) {
          const start = (from * kvHeads + head) * rowTokens * K;
          const target = row * this.rowSize() + head * this.slots * K;
          (buffers[layer] as Float32Array).set(source.subarray(start, start + length * K), target);
        }
      }
    }
  }

  /** Appends the new token's keys and values: those of row i go to its slot `lengths[i]`. */
  append(outputs: Readonly<Record<string, Tensor>>, lengths: readonly number[]): void {
    const { kvHeads, headWidth: K, layers } = this.config;
    for (let layer = 0; layer < layers; layer++) {
      const [key, value] = [float32Data(outputs[`newKey.${layer}`]), float32Data(outputs[`newValue.${layer}`])];
      const [keys, values] = [this.keys[layer] as Float32Array, this.values[layer] as Float32Array];
      let from = 0;
      for (const [row, length] of lengths.entries()) {
        for (let head = 0; head < kvHeads; head++) {
          const to = row * this.rowSize() + (head * this.slots + length) * K;
          // So few numbers are copied faster than a view of them is made.
          for (let k = 0; k < K; k++, from++) {
            keys[to + k] = key[from] as number;
            values[to + k] = value[from] as number;
          }
        }
      }
    }
  }

  /** Copies the sequence at `from` over the one at `to`. */
  move(from: number, to: number): void {
    const size = this.rowSize();
    for (const buffer of [...this.keys, ...this.values]) buffer.copyWithin(to * size, from * size, (from + 1) * size);
  }

  /** Cache inputs of a decode step over the first rows, which have `lengths` own tokens. */
  feeds(lengths: readonly number[]): Record<string, Tensor> {
    const { kvHeads, headWidth, layers } = this.config;
    const rows = lengths.length;
    const shape = [rows, kvHeads, this.slots, headWidth];
    const size = rows * this.rowSize();
    const feeds: Record<string, Tensor> = { ...this.prefix, ...this.masks(lengths) };
    for (let layer = 0; layer < layers; layer++) {
      feeds[`pastKey.${layer}`] = float32Tensor((this.keys[layer] as Float32Array).subarray(0, size), shape);
      feeds[`pastValue.${layer}`] = float32Tensor((this.values[layer] as Float32Array).subarray(0, size), shape);
    }
    return feeds;
  }

  /** Masks of a step: over each row's own past and, where a window limits some layers, over the prefix too. */
  private masks(lengths: readonly number[]): Record<string, Tensor> {
    const { window, slots } = this;
    const mask = (columns: number, isHidden: (row: number, column: number) => boolean): Tensor => {
      const values = new Float32Array(lengths.length * columns);
      for (let i = 0; i < values.length; i++) if (isHidden(Math.floor(i / columns), i % columns)) values[i] = MASKED;
      return float32Tensor(values, [lengths.length, columns]);
    };
    const isUnused = (row: number, slot: number): boolean => slot >= (lengths[row] as number);
    const pastMask = mask(slots, isUnused);
    if (window === undefined) return { pastMask };
    const prefixTokens = this.prefix['prefixKey.0']?.dims[2] ?? 0;
    // The new token of a row has `length` own tokens before it, and the prefix before those.
    return {
      pastMask,
      localPastMask: mask(slots, (row, slot) => isUnused(row, slot) || (lengths[row] as number) - slot >= window),
      localPrefixMask: mask(
        prefixTokens,
        (row, position) => prefixTokens + (lengths[row] as number) - position >= window,
      ),
    };
  }
}
