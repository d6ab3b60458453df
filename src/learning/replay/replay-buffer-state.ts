import { z } from 'zod';
import { FloodgateError } from '../../base/errors.ts';
import type { AttackSource } from '../attack.ts';
import { ReplayBuffer } from './replay-buffer.ts';
import { type ReplayBufferOptions, type ReplayEntry, sequenceKey } from './replay-entry.ts';

/** Longest attack in a checkpoint: stops a forged file from filling memory through one entry. */
const MAX_TOKENS = 65_536;
const MAX_TEXT = 1_048_576;
const FLOAT32_BYTES = 4;

const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const rankBy = z.enum(['judge', 'reward']);

const optionsSchema = z.strictObject({
  capacity: count.min(1),
  evictBy: rankBy,
  replaceBy: rankBy,
  rescore: z.enum(['average', 'keep-higher']),
  nearEditRatio: z.number().nullable(),
  nearCosine: z.number().nullable(),
});

/** Sources of attacks that a buffer can hold. */
const SOURCES = [
  'fresh',
  'tempered',
  'rewritten',
  'screened',
  'replay',
  'seed',
  'reference',
] as const satisfies readonly AttackSource[];

const entrySchema = z.strictObject({
  id: count,
  tokens: z.array(count).max(MAX_TOKENS),
  terminated: z.boolean(),
  text: z.string().max(MAX_TEXT),
  source: z.enum(SOURCES),
  logPRef: z.number().optional(),
  fluency: z.number(),
  score: z.strictObject({ logS: z.number(), meanUnsafe: z.number(), responses: count.min(1) }),
  addedAtUpdate: count,
  /** Little-endian float32 in base64: exact, and a quarter of the decimal form. */
  embedding: z.base64().optional(),
});

/** 2: entries have `fluency` and a source; version 1 called the term of the reward `logPRef`. */
const STATE_VERSION = 2;

const stateSchema = z.strictObject({
  version: z.literal(STATE_VERSION),
  options: optionsSchema,
  nextId: count,
  counts: z.strictObject({
    inserted: count,
    'inserted-evicting': count,
    'evicted-self': count,
    replaced: count,
    'near-duplicate-rejected': count,
    'duplicate-averaged': count,
    'duplicate-raised': count,
    'duplicate-kept': count,
  }),
  entries: z.array(entrySchema),
});

/** A replay buffer as plain JSON-safe data; `restoreReplayBuffer` rebuilds an equal one, bit for bit. */
export type ReplayBufferState = z.infer<typeof stateSchema>;

/** Returns the whole buffer as JSON-safe data: options, entries in storage order, counters. */
export function serialiseReplayBuffer(buffer: ReplayBuffer): ReplayBufferState {
  const { entries, nextId, counts } = buffer.contents();
  return {
    version: STATE_VERSION,
    options: { ...buffer.options },
    nextId,
    counts: { ...counts },
    entries: entries.map(entryToState),
  };
}

/**
 * Returns the buffer that `state` describes; later insertions and draws equal the original's.
 * @throws FloodgateError `run` when the state is damaged (wrong shape, doubled ids or sequences, more entries than fit)
 * or of another version.
 */
export function restoreReplayBuffer(state: unknown): ReplayBuffer {
  assertVersion(state);
  const parsed = stateSchema.safeParse(state);
  if (!parsed.success) throw damaged(z.prettifyError(parsed.error));
  const { options, nextId, counts, entries } = parsed.data;
  assertConsistent(entries, options, nextId);
  return new ReplayBuffer(options, { entries: entries.map(stateToEntry), nextId, counts });
}

/** An earlier checkpoint of the same run has the same version, so only a new run helps. */
function assertVersion(state: unknown): void {
  const version = (state as { readonly version?: unknown } | null | undefined)?.version;
  if (!Number.isSafeInteger(version) || version === STATE_VERSION) return;
  throw new FloodgateError('run', `restore replay buffer: got state version ${version}, expected ${STATE_VERSION}`, {
    hint: 'another version of Floodgate wrote this checkpoint: resume with that version, or start the run again',
  });
}

function assertConsistent(entries: ReplayBufferState['entries'], options: ReplayBufferOptions, nextId: number): void {
  if (entries.length > options.capacity) throw damaged(`${entries.length} entries, capacity ${options.capacity}`);
  if (new Set(entries.map(({ id }) => id)).size < entries.length) throw damaged('two entries with one id');
  if (new Set(entries.map(sequenceKey)).size < entries.length) throw damaged('two entries with one token sequence');
  if (entries.some(({ id }) => id >= nextId)) throw damaged(`an entry id at or above the next id ${nextId}`);
}

/** Keys in one order, so that a restored buffer is saved as the same bytes. */
function entryToState(entry: ReplayEntry): ReplayBufferState['entries'][number] {
  const { id, tokens, terminated, text, source, logPRef, fluency, score, addedAtUpdate, embedding } = entry;
  return {
    id,
    tokens: [...tokens],
    terminated,
    text,
    source: source as (typeof SOURCES)[number],
    ...(logPRef === undefined ? {} : { logPRef }),
    fluency,
    score: { logS: score.logS, meanUnsafe: score.meanUnsafe, responses: score.responses },
    addedAtUpdate,
    ...(embedding === undefined
      ? {}
      : { embedding: Buffer.from(embedding.buffer, embedding.byteOffset, embedding.byteLength).toString('base64') }),
  };
}

function stateToEntry({ embedding, ...rest }: ReplayBufferState['entries'][number]): ReplayEntry {
  if (embedding === undefined) return withoutUndefined(rest);
  const bytes = Buffer.from(embedding, 'base64');
  if (bytes.length % FLOAT32_BYTES !== 0) throw damaged(`embedding of ${bytes.length} bytes, not a multiple of 4`);
  return { ...withoutUndefined(rest), embedding: new Float32Array(new Uint8Array(bytes).buffer) };
}

/** zod types an optional key as one that may hold undefined. */
function withoutUndefined({
  logPRef,
  ...rest
}: Omit<ReplayBufferState['entries'][number], 'embedding'>): Omit<ReplayEntry, 'embedding'> {
  return logPRef === undefined ? rest : { ...rest, logPRef };
}

function damaged(what: string): FloodgateError {
  return new FloodgateError('run', `restore replay buffer: saved state is damaged: ${what}`, {
    hint: 'resume from an earlier checkpoint of this run',
  });
}
