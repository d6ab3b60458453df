import { z } from 'zod';
import { count } from '../base/config-fields.ts';

/** Most bytes of all files of a run, or of a model that goes with it. Stops a job from filling a disk. */
export const MAX_FILES_BYTES = 2 ** 32;
/** Most files of a run: a checkpoint each some updates. */
export const MAX_FILES = 10_000;

/** A file that travels beside a job, in pieces that are found by their content. */
const carriedFile = z.strictObject({
  /** Below a folder that the receiver chooses; each side takes the names that it expects alone. */
  name: z.string().regex(/^(?:checkpoints\/)?[A-Za-z0-9][A-Za-z0-9._-]{0,199}$/),
  bytes: count.max(MAX_FILES_BYTES),
  /** sha256 of each piece, in order. */
  pieces: z.array(z.string().regex(/^[0-9a-f]{64}$/)).max(4096),
});

export type CarriedFile = z.output<typeof carriedFile>;

const files = z.array(carriedFile).max(MAX_FILES);

/**
 * A whole run: its config, which the worker checks as it checks a file, and the files that the config names. It names
 * secrets at most, and holds no code.
 */
export const runJob = z.strictObject({
  kind: z.literal('run'),
  /** Without `queue`; `seeds.path` and `target.model` are relative where a file below takes their place. */
  config: z.record(z.string(), z.unknown()),
  /** The file of seeds, or none for those of a world. */
  seeds: files.max(1),
  /** The folder of a model that an earlier step of the study has tuned, or none. */
  model: files.max(100),
});

/** A run that is done: the files of its folder. */
export const runOutcome = z.strictObject({ kind: z.literal('ran'), files });
