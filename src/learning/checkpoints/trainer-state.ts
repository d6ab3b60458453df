import { createHash } from 'node:crypto';
import { FloodgateError } from '../../base/errors.ts';
import { type AdamWState, createAdamWState } from '../../engine/optimizer/adamw.ts';
import type { ParameterVector } from '../../engine/optimizer/flat-parameters.ts';
import {
  readSafetensors,
  type SafetensorsContent,
  type Tensor,
  writeSafetensors,
} from '../../models/formats/safetensors.ts';

/** Everything that a loop needs to resume where it stopped. `extra` is the loop's own JSON-safe state. */
export interface TrainerState {
  /** Updates done. */
  readonly update: number;
  readonly parameters: Float32Array;
  readonly optimizer: AdamWState;
  readonly extra: unknown;
}

/** The bytes of the loop's state as JSON; earlier versions wrote it as metadata of this name. */
const STATE_KEY = 'floodgate.trainer';
const DIGEST_KEY = 'floodgate.sha256';
/**
 * Longest state of a loop. It stops a forged checkpoint whose state no string could hold: V8's longest has 512 Mi
 * characters.
 */
export const MAX_STATE_BYTES = 480 * 1024 * 1024;
const FIRST = 'optimizer.firstMoment';
const SECOND = 'optimizer.secondMoment';

/**
 * sha256 (hex) of every tensor, by name, and of the loop's state. It detects a byte that the disk changed, which would
 * still decode as a float.
 */
function digestOf(tensors: ReadonlyMap<string, Tensor>, state: Uint8Array): string {
  const hash = createHash('sha256').update(state);
  for (const [name, { shape, data }] of [...tensors].sort(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(`${name} ${shape.join(' ')}\n`);
    hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest('hex');
}

/**
 * The limit that writer and reader of a checkpoint share.
 * @throws FloodgateError `run` when a loop's state is longer.
 */
export function assertStateBytes(path: string, length: number): void {
  if (length <= MAX_STATE_BYTES) return;
  throw new FloodgateError(
    'run',
    `checkpoint ${path}: the loop's state has ${length} bytes, expected at most ${MAX_STATE_BYTES}`,
    { hint: 'start a new run with a smaller gflownet.replay.capacity' },
  );
}

/** The loop's state as the file holds it; undefined in a file of another tool. */
function stateBytes(path: string, { bytes, metadata }: SafetensorsContent): Uint8Array | undefined {
  const text = metadata.get(STATE_KEY);
  const state = bytes.get(STATE_KEY) ?? (text === undefined ? undefined : Buffer.from(text, 'utf8'));
  assertStateBytes(path, state?.length ?? 0);
  return state;
}

function encodeState(path: string, state: unknown): Uint8Array {
  let text: string;
  try {
    text = JSON.stringify(state);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    assertStateBytes(path, Number.POSITIVE_INFINITY); // longer than any string
    throw cause;
  }
  const bytes = Buffer.from(text, 'utf8');
  assertStateBytes(path, bytes.length);
  return bytes;
}

/** Reads a file of tensors. A file with a digest must match it; files of other tools carry none. */
async function readChecked(path: string): Promise<SafetensorsContent> {
  const content = await readSafetensors(path);
  const expected = content.metadata.get(DIGEST_KEY);
  if (expected === undefined) return content;
  const found = digestOf(content.tensors, stateBytes(path, content) ?? new Uint8Array());
  if (found !== expected) {
    throw new FloodgateError('format', `load checkpoint ${path}: its bytes are not those written, got sha256 ${found}`);
  }
  return content;
}

/**
 * Writes a checkpoint as one safetensors file, atomically: each trained tensor under its own name (so that an adapter
 * can be read by other tools), the optimizer's moments flat, the loop's state as bytes.
 *
 * @throws FloodgateError `run` when the state is longer than its reader allows; the file is then as it was.
 */
export async function saveTrainerState(
  path: string,
  vector: ParameterVector,
  state: Omit<TrainerState, 'parameters'>,
): Promise<void> {
  const tensors = new Map(
    vector.specs.map(({ name, shape }) => [name, { shape, data: vector.tensors[name]?.data as Float32Array }] as const),
  );
  const { firstMoment, secondMoment, step } = state.optimizer;
  tensors.set(FIRST, { shape: [firstMoment.length], data: firstMoment });
  tensors.set(SECOND, { shape: [secondMoment.length], data: secondMoment });
  const bytes = encodeState(path, { update: state.update, step, extra: state.extra });
  const metadata = new Map([[DIGEST_KEY, digestOf(tensors, bytes)]]);
  await writeSafetensors(path, tensors, metadata, new Map([[STATE_KEY, bytes]]));
}

/**
 * Reads a checkpoint into `vector` and returns the rest.
 *
 * @throws FloodgateError `format` when the file is damaged; `run` when it belongs to another model or adapter.
 */
export async function loadTrainerState(path: string, vector: ParameterVector): Promise<TrainerState> {
  const content = await readChecked(path);
  const { tensors } = content;
  const state = stateBytes(path, content);
  if (state === undefined) throw new FloodgateError('run', `load checkpoint ${path}: not a checkpoint of Floodgate`);
  readParameters(path, tensors, vector);
  const parsed = JSON.parse(Buffer.from(state.buffer, state.byteOffset, state.length).toString('utf8')) as {
    update: number;
    step: number;
    extra: unknown;
  };
  const optimizer = createAdamWState(vector.data.length);
  for (const [name, target] of [
    [FIRST, optimizer.firstMoment],
    [SECOND, optimizer.secondMoment],
  ] as const) {
    const moments = tensors.get(name)?.data;
    if (moments?.length !== target.length) {
      throw new FloodgateError(
        'run',
        `load checkpoint ${path}: ${name} has ${moments?.length ?? 0} values, expected ${target.length}`,
      );
    }
    target.set(moments);
  }
  optimizer.step = parsed.step;
  return { update: parsed.update, parameters: vector.data, optimizer, extra: parsed.extra };
}

function readParameters(
  path: string,
  tensors: ReadonlyMap<string, { readonly data: Float32Array }>,
  vector: ParameterVector,
): void {
  for (const { name } of vector.specs) {
    const view = vector.tensors[name]?.data as Float32Array;
    const data = tensors.get(name)?.data;
    if (data?.length !== view.length) {
      throw new FloodgateError(
        'run',
        `load checkpoint ${path}: tensor ${name} has ${data?.length ?? 0} values, expected ${view.length}`,
        {
          hint: 'the checkpoint was made with another model or adapter',
        },
      );
    }
    view.set(data);
  }
}

/**
 * Reads only the trained tensors of a checkpoint, for sampling from it. Ignores tensors of a head that `vector` lacks.
 */
export async function loadParameters(path: string, vector: ParameterVector): Promise<void> {
  const { tensors } = await readChecked(path);
  readParameters(path, tensors, vector);
}
