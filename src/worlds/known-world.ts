import type { z } from 'zod';
import type { ProgressSink } from '../base/progress.ts';
import type { ParameterVector } from '../engine/optimizer/flat-parameters.ts';
import type { ComputeOptions } from '../engine/runtime/device.ts';
import type { Attacker } from '../learning/attacker.ts';
import type { CheckpointFolder } from '../learning/checkpoints/checkpoint-folder.ts';
import type { DecoderCheckpoint } from '../models/checkpoint/checkpoint.ts';
import type { WeighedRequest } from './posterior.ts';
import type { OpenWorldOptions } from './world.ts';
import type { WorldTruth } from './world-truth.ts';

/** A way of failing that a world has planted. */
export interface PlantedWay {
  readonly text: string;
  /** Intended probability that a response to a request with it is an alarm. */
  readonly leak: number;
}

/** A world as runs see it, whatever its kind. */
export interface WorldOfKind<Spec> {
  readonly spec: Spec & { readonly seed: number; readonly noise: number };
  readonly keys: readonly PlantedWay[];
  readonly seeds: readonly string[];
  readonly truth: WorldTruth;
  /** The checkpoint of its own reference: where a run with `attacker.from: world` starts. */
  readonly ownReference: CheckpointFolder;
}

/** The run whose posterior is measured: its own reference, reward and target. */
export interface MeasuredRun {
  readonly attacker: Attacker;
  readonly attackerModel: DecoderCheckpoint;
  /** As the run's SFT left it. */
  readonly reference: ParameterVector;
  /** The model that the run attacks; undefined where a rule answers. */
  readonly targetModel: DecoderCheckpoint | undefined;
  readonly rule: { readonly beta: number; readonly gamma: number; readonly responses: number };
  readonly seed: number;
  readonly compute: ComputeOptions;
  readonly progress: ProgressSink;
  readonly signal?: AbortSignal;
}

/** The truth about a run in a world, and requests from which its exact attacks are drawn. */
export interface MeasuredWorld {
  readonly truth: WorldTruth;
  readonly pool: readonly WeighedRequest[];
}

/** A kind of world: its section of a config, and all that runs ask of it. */
export interface WorldKind<Spec, Of extends WorldOfKind<Spec>> {
  /** The value of `world.kind` in configs. */
  readonly name: string;
  /** The section `world` of a config, strict. */
  readonly schema: z.ZodObject;
  /** True where the attacker is a model that knew language before. */
  readonly knowsLanguage: boolean;
  /** Seeds that its worlds have, at most. */
  readonly seedCount: number;
  /** The config with the settings of runs in this kind below what it says. */
  withPreset(config: Readonly<Record<string, unknown>>): unknown;
  /** @throws FloodgateError `world` for a world that is refused. */
  open(spec: Spec, options: OpenWorldOptions): Promise<Of>;
  /** Places in `keys` of the ways that each text holds. @throws FloodgateError `interrupted` on abort. */
  heldBy(world: Of, texts: readonly string[], signal?: AbortSignal): Promise<number[][]>;
  /** Seeds that hold no way. */
  harmlessSeeds(world: Of): readonly string[];
  /** The posterior of a run's own reference and reward. */
  measure(world: Of, run: MeasuredRun): Promise<MeasuredWorld>;
}
