import { FloodgateError } from '../../base/errors.ts';
import type { ParameterVector } from '../../engine/optimizer/flat-parameters.ts';
import type { DecoderConfig } from '../checkpoint/decoder-config.ts';
import { PIECE_BYTES } from '../checkpoint/weight-cache.ts';
import { bytesToFloat } from '../formats/half-float.ts';
import { openRandomAccessFile } from '../formats/random-access-file.ts';
import { type StreamedTensor, type Tensor, writeSafetensorsStreamed } from '../formats/safetensors.ts';
import { openSafetensorsStore, type WeightEntry, type WeightStore } from '../formats/weight-store.ts';
import { type LoraSpec, loraParameters, loraProjections, type Projection } from './lora.ts';

/** A trained adapter: A [rank, in] and B [out, rank] under the names of `loraParameters`. */
export interface LoraAdapter {
  readonly spec: LoraSpec;
  readonly tensors: ReadonlyMap<string, Tensor>;
}

/** Returns the adapter in a parameter vector, over the vector's own memory. Leaves out the tensors of a head. */
export function adapterOfParameters(config: DecoderConfig, spec: LoraSpec, vector: ParameterVector): LoraAdapter {
  const tensors = loraParameters(config, spec).map(({ name, shape }): [string, Tensor] => {
    const found = vector.tensors[name];
    if (found === undefined) throw new FloodgateError('model', `read adapter: the parameters have no tensor ${name}`);
    return [name, { shape, data: found.data as Float32Array }];
  });
  return { spec, tensors: new Map(tensors) };
}

/**
 * Refuses an adapter that was made for another base.
 * @throws FloodgateError `model` naming the first tensor that is missing, has another shape, or belongs to no
 * projection of this model.
 */
export function refuseForeignAdapter(config: DecoderConfig, adapter: LoraAdapter, name = 'adapter'): void {
  const hint = 'an adapter fits only the model (family and sizes) that it was trained on';
  const expected = new Map(loraParameters(config, adapter.spec).map((spec) => [spec.name, spec.shape]));
  for (const [tensor, shape] of expected) {
    const found = adapter.tensors.get(tensor);
    if (found === undefined)
      throw new FloodgateError('model', `${name}: tensor ${tensor} is missing, which this base needs`, { hint });
    if (`${found.shape}` !== `${shape}`) {
      const got = `tensor ${tensor} has shape [${found.shape}], expected [${shape}] for this base`;
      throw new FloodgateError('model', `${name}: ${got}`, { hint });
    }
  }
  for (const tensor of adapter.tensors.keys()) {
    if (!expected.has(tensor))
      throw new FloodgateError('model', `${name}: tensor ${tensor} belongs to no projection of this base`, { hint });
  }
}

/** The update of one weight: scale B A. */
interface Product {
  readonly projection: Projection;
  readonly a: Tensor;
  readonly b: Tensor;
  readonly scale: number;
  /** The weight is [in, out], as GPT-2's Conv1D keeps it; [out, in] otherwise. */
  readonly isInOut: boolean;
}

/**
 * Adds scale B A to a weight in place. Sums in float64 and rounds once: the merged model differs from base plus adapter
 * only by rounding.
 */
function addProduct(weight: Float32Array, { projection, a, b, scale, isInOut }: Product): void {
  const { inSize, outSize } = projection;
  const rank = a.shape[0] as number;
  const row = new Float64Array(inSize);
  for (let o = 0; o < outSize; o++) {
    row.fill(0);
    for (let r = 0; r < rank; r++) {
      const factor = scale * (b.data[o * rank + r] as number);
      const start = r * inSize;
      for (let i = 0; i < inSize; i++) row[i] = (row[i] as number) + factor * (a.data[start + i] as number);
    }
    for (let i = 0; i < inSize; i++) {
      const at = isInOut ? i * outSize + o : o * inSize + i;
      weight[at] = (weight[at] as number) + (row[i] as number);
    }
  }
}

async function* readPieces(path: string, { offset, byteLength }: WeightEntry): AsyncIterable<Float32Array> {
  await using file = await openRandomAccessFile(path);
  for (let done = 0; done < byteLength; done += PIECE_BYTES) {
    yield bytesToFloat(await file.read(offset + done, Math.min(PIECE_BYTES, byteLength - done)));
  }
}

async function* readMerged(path: string, entry: WeightEntry, product: Product): AsyncIterable<Float32Array> {
  await using file = await openRandomAccessFile(path);
  const weight = bytesToFloat(await file.read(entry.offset, entry.byteLength));
  addProduct(weight, product);
  yield weight;
}

function productsOf(config: DecoderConfig, { spec, tensors }: LoraAdapter): Map<string, Product> {
  const products = loraProjections(config, spec).map((projection): [string, Product] => [
    `${projection.module}.weight`,
    {
      projection,
      a: tensors.get(`${projection.module}.lora_A.weight`) as Tensor,
      b: tensors.get(`${projection.module}.lora_B.weight`) as Tensor,
      scale: spec.alpha / spec.rank,
      isInOut: config.family === 'gpt2',
    },
  ]);
  return new Map(products);
}

export interface MergeLoraOptions {
  readonly config: DecoderConfig;
  readonly weights: WeightStore;
  readonly adapter: LoraAdapter;
  /** The new safetensors file, written atomically. */
  readonly path: string;
  /** Names of the tensors in the file; as in `weights` when left out. */
  readonly fileNameOf?: (tensor: string) => string;
  readonly onWritten?: (bytes: number) => void;
}

/**
 * Writes a new file with W + (alpha / rank) B A for every adapted projection and every other weight unchanged. Returns
 * it as a weight store under the names of `weights`. Holds one matrix in memory at a time.
 * @throws FloodgateError `model` when the adapter does not fit; `store` when the disk refuses.
 */
export async function mergeLora(options: MergeLoraOptions): Promise<WeightStore> {
  const { config, weights, adapter, path, fileNameOf = (name) => name, onWritten } = options;
  refuseForeignAdapter(config, adapter);
  const products = productsOf(config, adapter);
  const streamed = [...weights.tensors].map(([name, entry]): StreamedTensor => {
    const product = products.get(name);
    return {
      name: fileNameOf(name),
      shape: entry.shape,
      pieces: () =>
        product === undefined ? readPieces(weights.path, entry) : readMerged(weights.path, entry, product),
    };
  });
  // `transformers` requires every weight file to name the framework that wrote it.
  await writeSafetensorsStreamed(path, streamed, new Map([['format', 'pt']]), onWritten);
  const written = await openSafetensorsStore(path);
  const tensors = [...weights.tensors.keys()].map((name): [string, WeightEntry] => [
    name,
    written.tensors.get(fileNameOf(name)) as WeightEntry,
  ]);
  return { path, tensors: new Map(tensors) };
}
