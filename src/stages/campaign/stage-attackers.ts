import { existsSync } from 'node:fs';
import path from 'node:path';
import { FloodgateError } from '../../base/errors.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import type { Attacker } from '../../learning/attacker.ts';
import type { DecoderCheckpoint } from '../../models/checkpoint/checkpoint.ts';
import { adapterOfParameters, mergeLora } from '../../models/decoder/merge-lora.ts';
import { openSafetensorsStore } from '../../models/formats/safetensors-store.ts';
import type { WeightEntry, WeightStore } from '../../models/formats/weight-store.ts';
import type { RunFolder } from '../../runs/run-folder.ts';
import { type AttackerName, smoothedAttacker } from '../config/attacker-names.ts';
import type { Config } from '../config/config-schema.ts';
import { loadReference } from './load-reference.ts';
import { openRunAttacker } from './run-attacker.ts';

/** Where smoothing of every weight starts: the model with the SFT adapter merged in. */
const MERGED_FILE = 'smoothing-base.safetensors';

/** The attacker of each stage of a run. */
export interface StageAttackers {
  /** Open until `close`; the same object for every stage that trains the same weights. */
  attackerOf(stage: AttackerName): Promise<Attacker>;
  close(): Promise<void>;
}

export interface StageAttackerParts {
  readonly folder: RunFolder;
  readonly config: Config;
  readonly model: DecoderCheckpoint;
  readonly compute: ComputeOptions;
}

/** True for a stage that trains every weight where the others train an adapter. */
export function isFullSmoothing({ attacker, smoothing }: Config, stage: AttackerName): boolean {
  return smoothing.method === 'full' && attacker.method === 'lora' && smoothedAttacker(stage) !== undefined;
}

/** The attackers of a run whose other stages use `attacker`, which whoever opened it closes. */
export function createStageAttackers(parts: StageAttackerParts, attacker: Attacker): StageAttackers {
  let merged: Promise<Attacker> | undefined;
  return {
    attackerOf: async (stage) => {
      if (!isFullSmoothing(parts.config, stage)) return attacker;
      merged ??= openMergedAttacker(parts, attacker);
      return merged;
    },
    close: async () => {
      const opened = await merged?.catch(() => undefined); // whoever asked for it has had the error
      merged = undefined;
      await opened?.close();
    },
  };
}

async function openMergedAttacker(parts: StageAttackerParts, attacker: Attacker): Promise<Attacker> {
  const { config, model, compute } = parts;
  const file = path.join(parts.folder.checkpointsPath, MERGED_FILE);
  const weights = (await readMerged(file, model.weights)) ?? (await writeMerged(file, parts, attacker));
  return openRunAttacker(config, model, compute, { weights, trainable: { kind: 'full' } });
}

/** A merged file made before, its tensors in the order of the model's; undefined when it must be made again. */
async function readMerged(file: string, { tensors }: WeightStore): Promise<WeightStore | undefined> {
  if (!existsSync(file)) return undefined;
  try {
    const found = await openSafetensorsStore(file);
    const entries = [...tensors].flatMap(([name, { byteLength }]): [string, WeightEntry][] => {
      const entry = found.tensors.get(name);
      return entry?.byteLength === byteLength ? [[name, entry]] : [];
    });
    return entries.length === tensors.size ? { path: file, tensors: new Map(entries) } : undefined;
  } catch (error) {
    if (error instanceof FloodgateError && error.code === 'format') return undefined;
    throw error;
  }
}

async function writeMerged(path: string, parts: StageAttackerParts, attacker: Attacker): Promise<WeightStore> {
  const { trainable } = attacker.spec;
  if (trainable.kind !== 'lora') throw new FloodgateError('run', 'merge attacker: it has no adapter to merge');
  const { config, weights } = parts.model;
  const reference = await loadReference({ folder: parts.folder, attacker });
  return mergeLora({ config, weights, adapter: adapterOfParameters(config, trainable.spec, reference), path });
}
