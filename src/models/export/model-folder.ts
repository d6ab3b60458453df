import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import type { DecoderCheckpoint } from '../checkpoint/checkpoint.ts';
import type { DecoderConfig } from '../checkpoint/decoder-config.ts';
import { expectedDecoderTensors, pickExpectedTensors } from '../checkpoint/expected-tensors.ts';
import { type LoraAdapter, mergeLora } from '../decoder/merge-lora.ts';
import { readJsonFile } from '../formats/json-file.ts';
import { openSafetensorsStore, type WeightEntry, type WeightStore } from '../formats/weight-store.ts';
import { decoderConfigJson } from './config-json.ts';

/** A config.json of gigabytes. */
const MAX_CONFIG_BYTES = 4 * 1024 * 1024;

/** `transformers` saves GPT-2's trunk under `transformer.`; other families keep their names. */
function savedName({ family }: DecoderConfig): (tensor: string) => string {
  if (family !== 'gpt2') return (tensor) => tensor;
  return (tensor) => (tensor.startsWith('lm_head.') ? tensor : `transformer.${tensor}`);
}

/** The source's own config.json, changed to fp32 weights; undefined where the source is not a folder with one. */
async function sourceConfigJson(source: string | undefined): Promise<Record<string, unknown> | undefined> {
  if (source === undefined) return undefined;
  const path = join(source, 'config.json');
  const exists = await stat(path).then(
    () => true,
    () => false,
  );
  if (!exists) return undefined;
  const { quantization_config: _dropped, ...json } = (await readJsonFile(path, MAX_CONFIG_BYTES)) as Record<
    string,
    unknown
  >;
  return { ...json, dtype: 'float32', torch_dtype: 'float32' };
}

export interface WriteModelOptions {
  readonly folder: string;
  readonly checkpoint: DecoderCheckpoint;
  readonly adapter: LoraAdapter;
  /** Folder or GGUF file that the checkpoint was opened from; none for a model made in-process. */
  readonly source?: string;
  readonly onWritten?: (bytes: number) => void;
}

/**
 * Writes the model with the adapter merged in: `config.json`, and `model.safetensors` last, each atomically. Without
 * tokenizer files (see `writeTokenizerFiles`) `transformers` loads it as a model, Floodgate as weights and config.
 * @returns the merged weights in the folder.
 * @throws FloodgateError `model` when the adapter does not fit; `store` when the disk refuses.
 */
export async function writeMergedModel(options: WriteModelOptions): Promise<WeightStore> {
  const { folder, checkpoint, adapter, source, onWritten } = options;
  const { config, weights, tokenizer } = checkpoint;
  await mkdir(folder, { recursive: true });
  const json = (await sourceConfigJson(source)) ?? decoderConfigJson(config, tokenizer);
  await writeFileAtomically(join(folder, 'config.json'), (file) =>
    file.writeFile(`${JSON.stringify(json, null, 2)}\n`),
  );
  return mergeLora({
    config,
    weights,
    adapter,
    path: join(folder, 'model.safetensors'),
    fileNameOf: savedName(config),
    ...(onWritten === undefined ? {} : { onWritten }),
  });
}

/**
 * Opens the weights of a folder that `writeMergedModel` wrote for a model of this config. It serves models made
 * in-process, which have no tokenizer files and so cannot be opened as a folder.
 * @throws FloodgateError `format` when the file is missing, damaged or of another model.
 */
export async function openMergedWeights(folder: string, config: DecoderConfig): Promise<WeightStore> {
  const { path, tensors } = await openSafetensorsStore(join(folder, 'model.safetensors'));
  const nameOf = savedName(config);
  const saved = [...expectedDecoderTensors(config)].map(([name]): [string, string] => [nameOf(name), name]);
  const names = new Map(saved);
  const renamed = [...tensors].map(([name, entry]): [string, WeightEntry] => [names.get(name) ?? name, entry]);
  return { path, tensors: pickExpectedTensors(path, new Map(renamed), expectedDecoderTensors(config)) };
}
