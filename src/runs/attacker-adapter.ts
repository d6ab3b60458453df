import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { FloodgateError } from '../base/errors.ts';
import type { ParameterVector } from '../engine/optimizer/flat-parameters.ts';
import type { DecoderCheckpoint } from '../models/checkpoint/checkpoint.ts';
import type { DecoderConfig } from '../models/checkpoint/decoder-config.ts';
import { loraParameters } from '../models/decoder/lora.ts';
import { type LoraAdapter, refuseForeignAdapter } from '../models/decoder/merge-lora.ts';
import {
  ADAPTER_CONFIG,
  ADAPTER_WEIGHTS,
  readPeftAdapter,
  type WriteAdapterOptions,
  writePeftAdapter,
} from '../models/export/peft-adapter.ts';
import { sha256OfFile } from '../models/sources/file-hash.ts';
import type { AttackerFile, AttackerFolder } from './attacker-folder.ts';

/** The model that an adapter is put on. */
export type AdapterBase = Pick<DecoderCheckpoint, 'config' | 'sha256' | 'spec'>;

const BYTES_PER_VALUE = 4;
/** Header and metadata: as much as a reader of safetensors allows. */
const MAX_HEADER_BYTES = 32 * 1024 * 1024;
const MAX_CONFIG_BYTES = 1024 * 1024;

/** @throws FloodgateError `model` when the base is another one than the attacker was trained on. */
export function refuseOtherBase({ path }: AttackerFolder, { base }: AttackerFile, model: AdapterBase): void {
  if (base.sha256 === model.sha256) return;
  throw new FloodgateError(
    'model',
    `attacker ${path}: its base ${base.spec} has the sha256 ${base.sha256}, got ${model.sha256} of ${model.spec}`,
    { hint: 'it works on exactly the weights that it was trained on: --base PATH names another copy' },
  );
}

/** The most bytes that an adapter of this shape takes in fp32. */
function mostBytes(config: DecoderConfig, { adapter }: AttackerFile): number {
  const values = loraParameters(config, adapter).reduce(
    (sum, { shape }) => sum + shape.reduce((n, size) => n * size, 1),
    0,
  );
  return values * BYTES_PER_VALUE + MAX_HEADER_BYTES;
}

/** A file that is larger than it can be is not even hashed. */
async function checkFile(path: string, most: number, expected: string): Promise<void> {
  const { size } = await stat(path);
  if (size > most) throw new FloodgateError('format', `read ${path}: got ${size} bytes, expected at most ${most}`);
  const found = await sha256OfFile(path);
  if (found === expected) return;
  throw new FloodgateError('format', `read ${path}: its sha256 is ${found}, expected ${expected}`, {
    hint: 'the file was damaged or changed after its export: copy the folder again',
  });
}

function refuseNonFinite(path: string, { tensors }: LoraAdapter): void {
  for (const [name, { data }] of tensors)
    if (!data.every(Number.isFinite))
      throw new FloodgateError('format', `attacker ${path}: tensor ${name} holds a value that is no number`);
}

/**
 * Reads the adapter for a base, every byte checked.
 * @throws FloodgateError `model` when it belongs to another base; `format` when a file is damaged, too large, or
 * disagrees with what the attacker says of it.
 */
export async function readAttackerAdapter(
  folder: AttackerFolder,
  attacker: AttackerFile,
  model: AdapterBase,
): Promise<LoraAdapter> {
  const { path } = folder;
  refuseOtherBase(folder, attacker, model);
  const { rank, alpha, targets, sha256, configSha256 } = attacker.adapter;
  await checkFile(join(path, ADAPTER_CONFIG), MAX_CONFIG_BYTES, configSha256);
  await checkFile(join(path, ADAPTER_WEIGHTS), mostBytes(model.config, attacker), sha256);
  const read = await readPeftAdapter(path, model.config);
  if (read.spec.rank !== rank || read.spec.alpha !== alpha)
    throw new FloodgateError(
      'format',
      `attacker ${path}: ${ADAPTER_CONFIG} has rank ${read.spec.rank} and alpha ${read.spec.alpha}, expected ${rank} and ${alpha}`,
    );
  const adapter = { spec: { rank, alpha, targets }, tensors: read.tensors };
  refuseForeignAdapter(model.config, adapter, `attacker ${path}`);
  refuseNonFinite(path, adapter);
  return adapter;
}

/** Writes an adapter in PEFT's format, and returns the hashes of its files. @throws as `writePeftAdapter`. */
export async function writeAdapter(
  folder: string,
  options: Omit<WriteAdapterOptions, 'folder'>,
): Promise<Pick<AttackerFile['adapter'], 'sha256' | 'configSha256'>> {
  await writePeftAdapter({ folder, ...options });
  return {
    sha256: await sha256OfFile(join(folder, ADAPTER_WEIGHTS)),
    configSha256: await sha256OfFile(join(folder, ADAPTER_CONFIG)),
  };
}

/**
 * Copies an adapter into the parameters of the same tensors.
 * @throws FloodgateError `model` when the parameters are not those of such an adapter.
 */
export function setAdapter(parameters: ParameterVector, { tensors }: LoraAdapter, what: string): void {
  for (const { name } of parameters.specs) {
    const view = parameters.tensors[name]?.data as Float32Array;
    const data = tensors.get(name)?.data;
    if (data?.length !== view.length || parameters.specs.length !== tensors.size)
      throw new FloodgateError('model', `${what}: its adapter has other tensors than this attacker, such as ${name}`, {
        hint: 'use the same attacker.lora in both configs',
      });
    view.set(data);
  }
}
