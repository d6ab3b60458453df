import { dequantize } from '../formats/dequantize.ts';
import { type GgufFile, type GgufTensor, type GgufValue, readGguf } from '../formats/gguf.ts';
import { openRandomAccessFile } from '../formats/random-access-file.ts';
import type { WeightStore } from '../formats/weight-store.ts';
import { sha256OfFile } from '../sources/file-hash.ts';
import type { DecoderConfig } from './decoder-config.ts';
import { expectedDecoderTensors, pickExpectedTensors } from './expected-tensors.ts';
import { parseGgufArchitecture, parseGgufConfig } from './gguf-config.ts';
import { ggufWeightFiles } from './gguf-weights.ts';
import { materializeWeights, type OpenOptions, PIECE_BYTES } from './weight-cache.ts';

/** A GGUF file as config and fp32 weights, its tokenizer still in the metadata. */
export interface OpenedGguf {
  readonly sha256: string;
  readonly config: DecoderConfig;
  readonly weights: WeightStore;
  readonly metadata: ReadonlyMap<string, GgufValue>;
}

/** Whether two tensors hold the same bytes in the same format: some converters write a tied head twice. */
async function isSameTensor(path: string, a: GgufTensor, b: GgufTensor): Promise<boolean> {
  if (a.type !== b.type || a.byteLength !== b.byteLength) return false;
  await using file = await openRandomAccessFile(path);
  for (let done = 0; done < a.byteLength; done += PIECE_BYTES) {
    const length = Math.min(PIECE_BYTES, a.byteLength - done);
    const [left, right] = [await file.read(a.offset + done, length), await file.read(b.offset + done, length)];
    if (!left.equals(right)) return false;
  }
  return true;
}

async function isHeadTied(path: string, file: GgufFile): Promise<boolean> {
  const [head, embedding] = [file.tensors.get('output.weight'), file.tensors.get('token_embd.weight')];
  if (head === undefined || embedding === undefined) return true;
  return isSameTensor(path, head, embedding);
}

async function readRopeFactors(path: string, file: GgufFile): Promise<Float32Array | undefined> {
  const tensor = file.tensors.get('rope_freqs.weight');
  if (tensor === undefined) return undefined;
  await using source = await openRandomAccessFile(path);
  return dequantize(tensor.type, await source.read(tensor.offset, tensor.byteLength));
}

/**
 * Opens a GGUF file: its config, and its weights as one fp32 file under `transformers` names.
 * @throws `format` when the file is damaged or its architecture is not supported.
 */
export async function openGguf(path: string, options: OpenOptions): Promise<OpenedGguf> {
  const file = await readGguf(path);
  const architecture = parseGgufArchitecture(file.metadata);
  const parsed = parseGgufConfig(file, await readRopeFactors(path, file));
  const config = { ...parsed, tiedEmbeddings: await isHeadTied(path, file) };
  const files = ggufWeightFiles(path, file, config, architecture);
  pickExpectedTensors(
    path,
    new Map(files.tensors.map((tensor) => [tensor.name, tensor])),
    expectedDecoderTensors(config),
  );
  const sha256 = await sha256OfFile(path);
  const weights = await materializeWeights(files, { ...options, sha256 });
  return { sha256, config, weights, metadata: file.metadata };
}
