import { FloodgateError } from '../../base/errors.ts';
import { dequantize } from '../formats/dequantize.ts';
import type { GgufFile, GgufTensor } from '../formats/gguf.ts';
import { openRandomAccessFile, type RandomAccessFile } from '../formats/random-access-file.ts';
import type { StreamedTensor } from '../formats/safetensors.ts';
import type { DecoderConfig } from './decoder-config.ts';
import type { GgufArchitecture } from './gguf-config.ts';
import { PIECE_BYTES, type WeightFiles } from './weight-cache.ts';

/** Tensors of one layer, `blk.N.<key>` in a GGUF, `model.layers.N.<value>` in `transformers`. */
const LLAMA_LAYER_NAMES: Readonly<Record<string, string>> = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_q_norm: 'self_attn.q_norm',
  attn_k_norm: 'self_attn.k_norm',
  attn_output: 'self_attn.o_proj',
  ffn_norm: 'post_attention_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
};

/** Gemma 3 has a norm on either side of each block, so Llama's norm names differ. */
const GEMMA3_LAYER_NAMES: Readonly<Record<string, string>> = {
  ...LLAMA_LAYER_NAMES,
  post_attention_norm: 'post_attention_layernorm',
  ffn_norm: 'pre_feedforward_layernorm',
  post_ffw_norm: 'post_feedforward_layernorm',
};

const LLAMA_NAMES: Readonly<Record<string, string>> = {
  token_embd: 'model.embed_tokens',
  output_norm: 'model.norm',
  output: 'lm_head',
};

const GPT2_LAYER_NAMES: Readonly<Record<string, string>> = {
  attn_norm: 'ln_1',
  attn_qkv: 'attn.c_attn',
  attn_output: 'attn.c_proj',
  ffn_norm: 'ln_2',
  ffn_up: 'mlp.c_fc',
  ffn_down: 'mlp.c_proj',
};

const GPT2_NAMES: Readonly<Record<string, string>> = {
  token_embd: 'wte',
  position_embd: 'wpe',
  output_norm: 'ln_f',
  output: 'lm_head',
};

/** RoPE factors: the config reads them; they are not a weight of the model. */
const ROPE_FACTORS = 'rope_freqs.weight';

function layerNames(architecture: GgufArchitecture): Readonly<Record<string, string>> {
  if (architecture === 'gpt2') return GPT2_LAYER_NAMES;
  return architecture === 'gemma3' ? GEMMA3_LAYER_NAMES : LLAMA_LAYER_NAMES;
}

/** Returns the `transformers` name of a GGUF tensor; undefined when the architecture has no such tensor. */
export function ggufToHuggingFaceName(name: string, architecture: GgufArchitecture): string | undefined {
  const match = /^(?:blk\.(\d+)\.)?([a-z0-9_]+)\.(weight|bias)$/.exec(name);
  if (match === null) return undefined;
  const [, layer, stem = '', suffix] = match;
  const isGpt2 = architecture === 'gpt2';
  if (layer === undefined) {
    const names = isGpt2 ? GPT2_NAMES : LLAMA_NAMES;
    return Object.hasOwn(names, stem) ? `${names[stem]}.${suffix}` : undefined;
  }
  const names = layerNames(architecture);
  if (!Object.hasOwn(names, stem)) return undefined;
  return `${isGpt2 ? 'h' : 'model.layers'}.${Number(layer)}.${names[stem]}.${suffix}`;
}

/**
 * Returns the rows of a Q or K projection to `transformers` order: for each head, the first halves of the rotated
 * pairs, then the second halves. llama.cpp's converter interleaves them (`LlamaModel.permute`): file row 2i + p is row
 * p * K/2 + i.
 */
export function unpermuteRows(values: Float32Array, rows: number, heads: number): Float32Array {
  const columns = values.length / rows;
  const headRows = rows / heads;
  const half = headRows / 2;
  const result = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    const inHead = row % headRows;
    const source = row - inHead + 2 * (inHead % half) + (inHead < half ? 0 : 1);
    result.set(values.subarray(source * columns, (source + 1) * columns), row * columns);
  }
  return result;
}

/** Transposes `[rows, columns]` to `[columns, rows]`. */
export function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const result = new Float32Array(values.length);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) result[c * rows + r] = values[r * columns + c] as number;
  }
  return result;
}

async function* readPieces(file: RandomAccessFile, tensor: GgufTensor): AsyncIterable<Float32Array> {
  const blocks = Math.max(1, Math.floor(PIECE_BYTES / tensor.type.blockBytes));
  const pieceBytes = blocks * tensor.type.blockBytes;
  for (let done = 0; done < tensor.byteLength; done += pieceBytes) {
    const bytes = await file.read(tensor.offset + done, Math.min(pieceBytes, tensor.byteLength - done));
    yield dequantize(tensor.type, bytes);
  }
}

/** A change that needs the whole matrix in memory: some tens of megabytes for the models that train here. */
type MatrixChange = (values: Float32Array) => Float32Array;

/** Returns the change that undoes the converter's work on a tensor of this name, and the shape after it. */
function changeOf(
  name: string,
  shape: readonly number[],
  config: DecoderConfig,
  architecture: GgufArchitecture,
): { readonly shape: readonly number[]; readonly change: MatrixChange | undefined } {
  const [rows = 0, columns = 0] = shape;
  if (architecture === 'gpt2' && /\.c_(attn|proj|fc)\.weight$/.test(name)) {
    // The converter transposes GPT-2's Conv1D weights to [out, in]; `transformers` keeps [in, out].
    return { shape: [columns, rows], change: (values) => transpose(values, rows, columns) };
  }
  if (architecture === 'llama' && /\.[qk]_proj\.weight$/.test(name)) {
    const heads = name.endsWith('.q_proj.weight') ? config.heads : config.kvHeads;
    if (rows !== heads * config.headWidth) {
      throw new FloodgateError(
        'format',
        `read ${name}: got ${rows} rows, expected ${heads} heads of ${config.headWidth}`,
      );
    }
    return { shape, change: (values) => unpermuteRows(values, rows, heads) };
  }
  if (architecture === 'gemma3' && name.endsWith('norm.weight')) {
    // The converter stores 1 + weight; `transformers` keeps the weight and adds the 1 at run time.
    return { shape, change: (values) => values.map((value) => value - 1) };
  }
  return { shape, change: undefined };
}

async function* readChanged(path: string, tensor: GgufTensor, change: MatrixChange | undefined) {
  await using file = await openRandomAccessFile(path);
  if (change === undefined) yield* readPieces(file, tensor);
  else yield change(dequantize(tensor.type, await file.read(tensor.offset, tensor.byteLength)));
}

/**
 * Returns the dequantised weights of a GGUF file under their `transformers` names. Undoes the converter's changes:
 * Llama's permuted Q/K rows, GPT-2's transposed matrices and Gemma's 1 in each norm. Omits a tied head.
 * @throws `format` when the file holds a tensor that this architecture does not have.
 */
export function ggufWeightFiles(
  path: string,
  file: GgufFile,
  config: DecoderConfig,
  architecture: GgufArchitecture,
): WeightFiles {
  const tensors: StreamedTensor[] = [];
  for (const tensor of file.tensors.values()) {
    if (tensor.name === ROPE_FACTORS) continue;
    const name = ggufToHuggingFaceName(tensor.name, architecture);
    if (name === undefined) {
      throw new FloodgateError('format', `read ${path}: unknown tensor ${tensor.name} in architecture ${architecture}`);
    }
    if (name === 'lm_head.weight' && config.tiedEmbeddings) continue;
    const { shape, change } = changeOf(name, tensor.shape, config, architecture);
    tensors.push({ name, shape, pieces: () => readChanged(path, tensor, change) });
  }
  return { tensors, plainFp32: undefined };
}
