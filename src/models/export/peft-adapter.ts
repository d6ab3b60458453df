import { join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import type { DecoderConfig } from '../checkpoint/decoder-config.ts';
import { decoderProjections } from '../decoder/lora.ts';
import { type LoraAdapter, refuseForeignAdapter } from '../decoder/merge-lora.ts';
import { parseFields, readJsonFile } from '../formats/json-file.ts';
import { readSafetensors, type Tensor, writeSafetensors } from '../formats/safetensors.ts';

export const ADAPTER_CONFIG = 'adapter_config.json';
export const ADAPTER_WEIGHTS = 'adapter_model.safetensors';
/** A config of gigabytes. */
const MAX_CONFIG_BYTES = 1024 * 1024;
/** PEFT wraps the causal language model twice: `base_model.model.` precedes the model's own module path. */
const PEFT_PREFIX = 'base_model.model.';

/** Prefix of our module paths in PEFT's tensor names: GPT-2's language model keeps its trunk in `transformer`. */
function peftPrefix({ family }: DecoderConfig): string {
  return family === 'gpt2' ? `${PEFT_PREFIX}transformer.` : PEFT_PREFIX;
}

/** Projection names as PEFT matches them, by the end of the module path. */
function targetModules(config: DecoderConfig, { spec }: LoraAdapter): string[] {
  if (spec.targets !== 'all-linear') return [...spec.targets];
  return [...new Set(decoderProjections(config).map(({ module }) => module.split('.').at(-1) as string))];
}

export interface WriteAdapterOptions {
  readonly folder: string;
  readonly config: DecoderConfig;
  readonly adapter: LoraAdapter;
  /** The base's name, and the sha256 of its source, by which a reader can find it later. */
  readonly base: { readonly spec: string; readonly sha256: string };
}

/**
 * Writes an adapter for `PeftModel.from_pretrained`: `adapter_config.json` and `adapter_model.safetensors`, each
 * atomically.
 * @throws FloodgateError `model` when it does not fit the config; `store` when the disk refuses.
 */
export async function writePeftAdapter({ folder, config, adapter, base }: WriteAdapterOptions): Promise<void> {
  refuseForeignAdapter(config, adapter);
  const prefix = peftPrefix(config);
  const tensors = new Map([...adapter.tensors].map(([name, tensor]) => [`${prefix}${name}`, tensor]));
  const metadata = new Map([
    ['format', 'pt'],
    ['floodgate.baseSha256', base.sha256],
  ]);
  await writeSafetensors(join(folder, ADAPTER_WEIGHTS), tensors, metadata);
  const json = {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: base.spec,
    r: adapter.spec.rank,
    lora_alpha: adapter.spec.alpha,
    target_modules: targetModules(config, adapter),
    lora_dropout: 0,
    bias: 'none',
    // GPT-2's Conv1D keeps its weights [in, out]
    fan_in_fan_out: config.family === 'gpt2',
    inference_mode: true,
    init_lora_weights: true,
    use_rslora: false,
    use_dora: false,
    modules_to_save: null,
  };
  await writeFileAtomically(join(folder, ADAPTER_CONFIG), (file) =>
    file.writeFile(`${JSON.stringify(json, null, 2)}\n`),
  );
}

const configFields = z.looseObject({
  peft_type: z.literal('LORA', { error: 'expected LORA, the only kind that is read' }),
  r: z.int().min(1).max(65_536),
  lora_alpha: z.number().positive(),
  target_modules: z.union([z.literal('all-linear'), z.array(z.string().min(1).max(200)).min(1).max(1000)], {
    error: 'expected a list of projection names (a pattern is not read)',
  }),
  bias: z.literal('none', { error: 'expected none' }).nullish(),
  use_rslora: z.literal(false, { error: 'is not supported' }).nullish(),
  use_dora: z.literal(false, { error: 'is not supported' }).nullish(),
  modules_to_save: z.array(z.string()).max(0, { error: 'is not supported' }).nullish(),
  rank_pattern: z.strictObject({}, { error: 'is not supported' }).nullish(),
  alpha_pattern: z.strictObject({}, { error: 'is not supported' }).nullish(),
});

/**
 * Reads an adapter in PEFT's layout for a base of this config.
 * @throws FloodgateError `format` for damaged files or another kind of adapter; `model` when it does not fit the base.
 */
export async function readPeftAdapter(folder: string, config: DecoderConfig): Promise<LoraAdapter> {
  const path = join(folder, ADAPTER_CONFIG);
  const fields = parseFields(configFields, await readJsonFile(path, MAX_CONFIG_BYTES), `read ${path}`);
  const { tensors } = await readSafetensors(join(folder, ADAPTER_WEIGHTS));
  const prefix = peftPrefix(config);
  const named = [...tensors].map(([name, tensor]): [string, Tensor] => [
    name.startsWith(prefix) ? name.slice(prefix.length) : name,
    tensor,
  ]);
  const adapter = {
    spec: { rank: fields.r, alpha: fields.lora_alpha, targets: fields.target_modules },
    tensors: new Map(named),
  };
  try {
    refuseForeignAdapter(config, adapter, `adapter ${folder}`);
  } catch (error) {
    // Unknown names are a config error when a person wrote them, and the adapter's error when a file contains them.
    if (!(error instanceof FloodgateError) || error.code !== 'config') throw error;
    throw new FloodgateError('model', `adapter ${folder}: ${error.message}`, {
      cause: error,
      hint: 'an adapter fits only the model (family and sizes) that it was trained on',
    });
  }
  return adapter;
}
