import type { Tensor } from 'onnxruntime-node';
import { float32Data, float32Tensor } from '../../runtime/tensors.ts';
import type { DecoderConfig } from '../decoder-config.ts';
import { cacheHeadWidth } from './inference-graphs.ts';

/** Where a sequence's keys and values come from: the shared prefix, then one row of the prefill. */
export interface CacheSource {
  readonly outputs: Readonly<Record<string, Tensor>>;
  readonly prefixTokens: number;
  /** Padded length R of the prefill's rows. */
  readonly rowTokens: number;
}

/** Keys and values of the live sequences, [B, G, S, K'] a layer; grows when asked for more, shrinks by moving rows. */
export class DecodeCache {
  private readonly config: DecoderConfig;
  private readonly width: number;
  private readonly buffers: Float32Array[]; // key 0, value 0, key 1, value 1, ...
  private capacity = 0;
  private slots = 0;

  constructor(config: DecoderConfig) {
    this.config = config;
    this.width = cacheHeadWidth(config);
    this.buffers = Array.from({ length: 2 * config.layers }, () => new Float32Array(0));
  }

  /** Room for `rows` sequences of up to `slots` tokens. What was stored is forgotten. */
  reserve(rows: number, slots: number): void {
    this.slots = slots;
    const size = rows * this.config.kvHeads * slots * this.width;
    if (size <= this.capacity) return;
    this.capacity = size;
    for (let i = 0; i < this.buffers.length; i++) this.buffers[i] = new Float32Array(size);
  }

  private rowSize(): number {
    return this.config.kvHeads * this.slots * this.width;
  }

  /** Copies a prefill's keys and values into sequence `row`: the prefix, then `length` tokens of prefill row `from`. */
  fill(row: number, source: CacheSource, from: number, length: number): void {
    for (let layer = 0; layer < this.config.layers; layer++) {
      const part = (name: string): Float32Array => float32Data(source.outputs[`${name}.${layer}`]);
      this.copy(this.buffers[2 * layer] as Float32Array, row, [part('prefixKey'), part('rowKey')], {
        source,
        from,
        length,
      });
      this.copy(this.buffers[2 * layer + 1] as Float32Array, row, [part('prefixValue'), part('rowValue')], {
        source,
        from,
        length,
      });
    }
  }

  private copy(
    buffer: Float32Array,
    row: number,
    [prefix, rows]: readonly [Float32Array, Float32Array],
    place: { readonly source: CacheSource; readonly from: number; readonly length: number },
  ): void {
    const { kvHeads, headWidth: K } = this.config;
    const { prefixTokens: P, rowTokens: R } = place.source;
    for (let head = 0; head < kvHeads; head++) {
      const start = row * this.rowSize() + head * this.slots * this.width;
      this.copyTokens(buffer, start, prefix.subarray(head * P * K, (head + 1) * P * K));
      const rowStart = (place.from * kvHeads + head) * R * K;
      this.copyTokens(buffer, start + P * this.width, rows.subarray(rowStart, rowStart + place.length * K));
    }
  }

  /** Tokens of width K into slots of width K'; the columns beyond K stay zero. */
  private copyTokens(buffer: Float32Array, start: number, tokens: Float32Array): void {
    const K = this.config.headWidth;
    if (K === this.width) {
      buffer.set(tokens, start);
      return;
    }
    for (let t = 0; t * K < tokens.length; t++) {
      const slot = start + t * this.width;
      buffer.fill(0, slot, slot + this.width);
      buffer.set(tokens.subarray(t * K, (t + 1) * K), slot);
    }
  }

  /** Moves the sequence at `from` over the one at `to`. */
  move(from: number, to: number): void {
    const size = this.rowSize();
    for (const buffer of this.buffers) buffer.copyWithin(to * size, from * size, (from + 1) * size);
  }

  /** Past and present tensors of the first `rows` sequences, over the same memory: the decode step updates in place. */
  tensors(rows: number): { past: Record<string, Tensor>; present: Record<string, Tensor> } {
    const past: Record<string, Tensor> = {};
    const present: Record<string, Tensor> = {};
    const shape = [rows, this.config.kvHeads, this.slots, this.width];
    this.buffers.forEach((buffer, i) => {
      const name = `${i % 2 === 0 ? 'Key' : 'Value'}.${Math.floor(i / 2)}`;
      const tensor = float32Tensor(buffer.subarray(0, rows * this.rowSize()), shape);
      past[`past${name}`] = tensor;
      present[`present${name}`] = tensor;
    });
    return { past, present };
  }
}
