import { existsSync } from 'node:fs';
import { FloodgateError } from '../../base/errors.ts';
import { maxOf } from '../../base/long-lists.ts';
import type { ComputeOptions } from '../../engine/runtime/device.ts';
import { type Attacker, openAttacker, promptsOf } from '../../learning/attacker.ts';
import type { DecoderCheckpoint } from '../../models/checkpoint/checkpoint.ts';
import type { Trainable } from '../../models/decoder/declare-model.ts';
import { adapterOfParameters, mergeLora } from '../../models/decoder/merge-lora.ts';
import { openSafetensorsStore, type WeightEntry, type WeightStore } from '../../models/formats/weight-store.ts';
import type { RunFolder } from '../../runs/run-folder.ts';
import { checkpointFile, loadReference } from '../checkpoints.ts';
import { attackerCells } from '../config/cells-section.ts';
import type { Config } from '../config/config.ts';
import type { Stage } from '../stage.ts';

/** The base weights of an attacker, and the part that is trained. */
export interface AttackerBase {
  readonly weights: WeightStore;
  readonly trainable: Trainable;
}

/**
 * Positions that the attacker's graphs can hold: the meta-prompt, the attack, and a spare one for a cut attack's end.
 */
function attackerContext(config: Pick<Config, 'attacker'>, promptTokens: number, maxPositions: number): number {
  return Math.min(maxPositions, promptTokens + config.attacker.maxTokens + 2);
}

/** Tokens of the longest prompt that an attack may continue. */
function longestPrompt({ metaPrompt, cells: given }: Config['attacker'], { tokenizer }: DecoderCheckpoint): number {
  const cells = attackerCells(given);
  const prompts = promptsOf(cells === undefined ? { metaPrompt } : { metaPrompt, cells });
  return maxOf(prompts.map(({ text }) => tokenizer.encode(text, { addSpecial: true }).length));
}

/**
 * Refuses an attacker whose longest attack does not fit behind its meta-prompt: it would fail only after SFT.
 * @throws FloodgateError `config` with the key to change.
 */
export function assertAttackFits({ attacker }: Pick<Config, 'attacker'>, model: DecoderCheckpoint): void {
  const { maxTokens } = attacker;
  const promptTokens = longestPrompt(attacker, model);
  const { maxPositions } = model.config;
  const room = maxPositions - promptTokens;
  if (maxTokens <= room) return;
  throw new FloodgateError(
    'config',
    `attacker.maxTokens: got ${maxTokens}, expected at most ${Math.max(0, room)}: the context of ${model.spec} holds ` +
      `${maxPositions} tokens, of which attacker.metaPrompt takes ${promptTokens}`,
    {
      hint:
        room > 0
          ? `set attacker.maxTokens to at most ${room}, or shorten attacker.metaPrompt`
          : 'shorten attacker.metaPrompt, or choose an attacker.model with a longer context',
    },
  );
}

function trainableOf({ method, lora }: Config['attacker']): Trainable {
  if (method === 'full') return { kind: 'full' };
  return { kind: 'lora', spec: { rank: lora.rank, alpha: lora.alpha, targets: lora.targets } };
}

/**
 * The attacker of a run's config on its opened model, or on another base of the same model.
 * @throws FloodgateError `config` when the longest attack does not fit its context.
 */
export async function openRunAttacker(
  config: Pick<Config, 'attacker'>,
  model: DecoderCheckpoint,
  compute: ComputeOptions,
  base: AttackerBase = { weights: model.weights, trainable: trainableOf(config.attacker) },
): Promise<Attacker> {
  assertAttackFits(config, model);
  const { metaPrompt, minTokens, maxTokens } = config.attacker;
  const { tokenizer } = model;
  const cells = attackerCells(config.attacker.cells);
  const promptTokens = longestPrompt(config.attacker, model);
  const contextTokens = attackerContext(config, promptTokens, model.config.maxPositions);
  const spec = { config: model.config, tokenizer, ...base, metaPrompt, minTokens, maxTokens, contextTokens };
  return openAttacker(cells === undefined ? spec : { ...spec, cells }, compute);
}

/** Initial weights of smoothing when it trains every weight: the model with the SFT adapter merged in. */
const MERGED_FILE = 'smoothing-base.safetensors';

/** The attacker of each stage of a run. */
export interface StageAttackers {
  /** Open until `close`; stages that train the same weights get the same object. */
  attackerOf(stage: string): Promise<Attacker>;
  close(): Promise<void>;
}

export interface StageAttackerParts {
  readonly folder: RunFolder;
  readonly config: Config;
  readonly model: DecoderCheckpoint;
  readonly compute: ComputeOptions;
  /** Definition of a stage. */
  stage(name: string): Stage;
}

/** The attackers of a run whose other stages use `attacker`. The caller closes `attacker`. */
export function createStageAttackers(parts: StageAttackerParts, attacker: Attacker): StageAttackers {
  let merged: Promise<Attacker> | undefined;
  return {
    attackerOf: async (stage) => {
      if (parts.stage(stage).trainsEveryWeight?.(parts.config) !== true) return attacker;
      merged ??= openMergedAttacker(parts, attacker);
      return merged;
    },
    close: async () => {
      const opened = await merged?.catch(() => undefined); // the caller of `attackerOf` got the error
      merged = undefined;
      await opened?.close();
    },
  };
}

async function openMergedAttacker(parts: StageAttackerParts, attacker: Attacker): Promise<Attacker> {
  const { config, model, compute } = parts;
  const file = checkpointFile(parts.folder, MERGED_FILE);
  const weights = (await readMerged(file, model.weights)) ?? (await writeMerged(file, parts, attacker));
  return openRunAttacker(config, model, compute, { weights, trainable: { kind: 'full' } });
}

/** An existing merged file, its tensors in the model's order; undefined when it must be made again. */
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
