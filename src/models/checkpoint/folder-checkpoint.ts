import { createHash } from 'node:crypto';
import { access } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { FloodgateError } from '../../base/errors.ts';
import { minOf } from '../../base/long-lists.ts';
import { parseFields, readJsonFile } from '../formats/json-file.ts';
import type { WeightStore } from '../formats/weight-store.ts';
import { sha256OfFile } from '../sources/file-hash.ts';
import { type DecoderConfig, isDecoderType, parseDecoderConfig } from './decoder-config.ts';
import { type EncoderConfig, type EncoderType, isEncoderType, parseEncoderConfig } from './encoder-config.ts';
import { expectedDecoderTensors, expectedEncoderTensors, pickExpectedTensors } from './expected-tensors.ts';
import { type LocatedTensor, locateTensors, readShardPaths, safetensorsWeightFiles } from './safetensors-weights.ts';
import { normaliseTensorName } from './tensor-names.ts';
import { materializeWeights, type OpenOptions } from './weight-cache.ts';

/** A config.json of gigabytes. */
const MAX_CONFIG_BYTES = 4 * 1024 * 1024;

/** A head of shape [2^53, 0], which takes no bytes: each label becomes a name. The largest real head has some 1,000. */
const MAX_LABELS = 10_000;

/** Config and fp32 weights of a folder of config.json and safetensors; its tokenizer is read separately. */
export type OpenedFolder = { readonly sha256: string; readonly weights: WeightStore } & (
  | { readonly kind: 'decoder'; readonly config: DecoderConfig }
  | { readonly kind: 'encoder'; readonly config: EncoderConfig }
);

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Paths of a folder's safetensors files: one file, or the shards that the index names. */
async function weightPaths(folder: string): Promise<string[]> {
  const single = join(folder, 'model.safetensors');
  if (await exists(single)) return [single];
  const index = join(folder, 'model.safetensors.index.json');
  if (await exists(index)) return readShardPaths(index);
  throw new FloodgateError(
    'format',
    `open ${folder}: it has no model.safetensors and no model.safetensors.index.json`,
    {
      hint: 'pickled weights (pytorch_model.bin) can run code and are not read: convert them with save_pretrained',
    },
  );
}

/** sha256 of one file. For several files, the sha256 of the list of their names and sha256s. */
async function sha256OfFiles(paths: readonly string[]): Promise<string> {
  if (paths.length === 1) return sha256OfFile(paths[0] as string);
  const hash = createHash('sha256');
  for (const path of paths) hash.update(`${await sha256OfFile(path)}  ${basename(path)}\n`);
  return hash.digest('hex');
}

const tokenizerLimit = z.looseObject({ model_max_length: z.number().positive().nullish() });
const sentenceLimit = z.looseObject({ max_seq_length: z.number().positive().nullish() });
const poolingFields = z.looseObject({ pooling_mode_mean_tokens: z.boolean().nullish() });

async function readOptional<T>(folder: string, name: string, schema: z.ZodType<T>): Promise<T | undefined> {
  const path = join(folder, name);
  if (!(await exists(path))) return undefined;
  return parseFields(schema, await readJsonFile(path, MAX_CONFIG_BYTES), `read ${path}`);
}

/** Smallest limit that the tokenizer and sentence encoder files give, in tokens. */
async function readTokenLimit(folder: string): Promise<number | undefined> {
  const tokenizer = await readOptional(folder, 'tokenizer_config.json', tokenizerLimit);
  const sentence = await readOptional(folder, 'sentence_bert_config.json', sentenceLimit);
  const limits = [tokenizer?.model_max_length, sentence?.max_seq_length].filter((limit) => typeof limit === 'number');
  return limits.length === 0 ? undefined : Math.floor(minOf(limits));
}

/** Refuses a sentence encoder trained for another pooling: its embeddings would be wrong without a sign of it. */
async function refuseOtherPooling(folder: string): Promise<void> {
  const pooling = await readOptional(folder, join('1_Pooling', 'config.json'), poolingFields);
  if (pooling?.pooling_mode_mean_tokens === false) {
    throw new FloodgateError(
      'format',
      `open ${folder}: its pooling is not the mean over tokens, which alone is supported`,
    );
  }
}

/**
 * Number of outputs of the classification head in the tensors; undefined where there is none.
 * @throws `format` when the head is no matrix, or has more than `MAX_LABELS` outputs.
 */
function labelCountOf(tensors: ReadonlyMap<string, LocatedTensor>, type: EncoderType): number | undefined {
  const name = type === 'roberta' ? 'classifier.out_proj.weight' : 'classifier.weight';
  const shape = tensors.get(name)?.shape;
  if (shape === undefined) return undefined;
  const [labels = 0, width = 0] = shape;
  if (shape.length === 2 && labels > 0 && labels <= MAX_LABELS && width > 0) return labels;
  throw new FloodgateError(
    'format',
    `read ${name}: got shape [${shape}], expected [labels, width] with at most ${MAX_LABELS} labels`,
  );
}

/** Drops BERT's pooler unless it is used: every encoder saves it, only classifiers use it. */
function withoutIdlePooler(tensors: ReadonlyMap<string, LocatedTensor>, isUsed: boolean): Map<string, LocatedTensor> {
  return new Map([...tensors].filter(([name]) => isUsed || !name.startsWith('pooler.')));
}

async function openDecoder(folder: string, json: unknown, modelType: string, options: OpenOptions) {
  if (!isDecoderType(modelType)) return undefined;
  const config = parseDecoderConfig(json, modelType);
  const paths = await weightPaths(folder);
  const located = await locateTensors(paths, (name) => {
    const normalised = normaliseTensorName(name, config.family);
    return config.tiedEmbeddings && normalised === 'lm_head.weight' ? undefined : normalised;
  });
  const tensors = pickExpectedTensors(folder, located, expectedDecoderTensors(config));
  const sha256 = await sha256OfFiles(paths);
  const weights = await materializeWeights(safetensorsWeightFiles(tensors), { ...options, sha256 });
  return { kind: 'decoder', sha256, weights, config } as const;
}

async function openEncoder(folder: string, json: unknown, modelType: string, options: OpenOptions) {
  if (!isEncoderType(modelType)) return undefined;
  await refuseOtherPooling(folder);
  const paths = await weightPaths(folder);
  const located = await locateTensors(paths, (name) => normaliseTensorName(name, modelType));
  const labelCount = labelCountOf(located, modelType);
  const config = parseEncoderConfig(json, modelType, { labelCount, tokenLimit: await readTokenLimit(folder) });
  const isPoolerUsed = modelType === 'bert' && labelCount !== undefined;
  const tensors = pickExpectedTensors(folder, withoutIdlePooler(located, isPoolerUsed), expectedEncoderTensors(config));
  const sha256 = await sha256OfFiles(paths);
  const weights = await materializeWeights(safetensorsWeightFiles(tensors), { ...options, sha256 });
  return { kind: 'encoder', sha256, weights, config } as const;
}

/**
 * Opens a folder of config.json and safetensors: its config, and its weights as one fp32 file.
 * @throws `format` when a file is missing, damaged or contradicts another, or when the model's family is not supported.
 */
export async function openFolder(folder: string, options: OpenOptions): Promise<OpenedFolder> {
  const json = await readJsonFile(join(folder, 'config.json'), MAX_CONFIG_BYTES);
  const { model_type: modelType } = parseFields(z.looseObject({ model_type: z.string() }), json, 'read config.json');
  const opened =
    (await openDecoder(folder, json, modelType, options)) ?? (await openEncoder(folder, json, modelType, options));
  if (opened === undefined) {
    throw new FloodgateError(
      'format',
      `open ${folder}: model_type ${JSON.stringify(modelType)} is not supported, expected gpt2, llama, mistral, qwen2, qwen3, gemma3_text, bert, roberta or distilbert`,
    );
  }
  return opened;
}
