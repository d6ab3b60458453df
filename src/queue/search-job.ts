import { z } from 'zod';
import { canonicalJson, sha256Of } from '../base/canonical-json.ts';
import { count, positiveCount } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import type { DrawPlan } from '../learning/loops/draw-plan.ts';
import type { ReferenceRule } from '../learning/loops/rollout.ts';
import type { SurrogateState } from '../learning/proposals/surrogate.ts';

/** Most attacks that one search draws, candidates of the screen included. Stops a job that never ends. */
const MAX_DRAWN = 65_536;
/** Most tokens of one attack. */
const MAX_TOKENS = 65_536;
/** Largest adapter: stops a job from filling a worker's memory. The worker also knows the size that it expects. */
export const MAX_ADAPTER_BYTES = 2 ** 28;
/** Largest state of a surrogate: 8,192 rows of 1,024 numbers in base64 take 45 MB. */
export const MAX_SURROGATE_BYTES = 2 ** 27;

const settings = z.record(z.string(), z.unknown());
const name = z.string().max(2000);
const hash = z.string().regex(/^[0-9a-f]{64}$/);
const tokens = z.array(count).max(MAX_TOKENS);

/** A `DrawPlan`. */
const plan = z
  .strictObject({
    seed: count,
    update: count,
    cell: name.optional(),
    slots: count,
    tempered: count,
    temperatures: z.strictObject({ low: z.number().positive(), high: z.number().positive() }),
    parents: z.array(tokens).max(MAX_DRAWN),
    rewriteChange: z.number().min(0).max(1),
    screen: z
      .strictObject({ candidates: positiveCount, controlShare: z.number(), minCorrelation: z.number() })
      .optional(),
    rows: z.strictObject({ from: count, to: count }).optional(),
  })
  .refine(({ slots, parents, screen }) => slots * (screen?.candidates ?? 1) + parents.length <= MAX_DRAWN, {
    error: `must draw at most ${MAX_DRAWN} attacks`,
  }) as unknown as z.ZodType<DrawPlan>;

/** A `ReferenceRule`. */
const rule = z.strictObject({
  fluency: z.strictObject({
    form: z.discriminatedUnion('kind', [
      z.strictObject({ kind: z.literal('sum') }),
      z.strictObject({ kind: z.literal('mean') }),
      z.strictObject({ kind: z.literal('capped'), cap: z.number() }),
      z.strictObject({ kind: z.literal('min-k-gate'), k: count, threshold: z.number(), penalty: z.number() }),
    ]),
    minTokens: count,
    shortPenalty: z.number(),
  }),
  truncationPenalty: z.boolean(),
}) as unknown as z.ZodType<ReferenceRule>;

/** The attacks of one update: drawn from a published adapter, screened, and with the reference's opinion of each. */
export const searchJob = z.strictObject({
  kind: z.literal('search'),
  /** Section of the config, and the identity of its model. */
  attacker: z.strictObject({ section: settings, weights: name }),
  /** The same of the encoder; null where nothing is screened. */
  encoder: z.strictObject({ section: settings, weights: name }).nullable(),
  /** Flat parameters of the policy and of the reference: float32, little-endian. */
  policy: hash,
  reference: hash,
  /** A `SurrogateState` as JSON; null where nothing is screened. */
  surrogate: hash.nullable(),
  plan,
  rule,
});

/** One drawn attack. */
export const searchedAttack = z.strictObject({
  source: z.enum(['fresh', 'tempered', 'screened', 'rewritten']),
  tokens,
  terminated: z.boolean(),
  text: z.string(),
  logPi: z.number(),
  /** The score that the surrogate expects; null where it was not asked. */
  prediction: z.number().nullable(),
  logPRef: z.number(),
  fluency: z.number(),
});

export type SearchedAttack = z.output<typeof searchedAttack>;

const surrogateState = z.strictObject({
  width: count,
  values: z.array(z.number()),
  rows: z.string(),
  recent: z.array(z.tuple([z.number(), z.number()])),
});

/** A surrogate's state of checked bytes. @throws FloodgateError `run` where it is none. */
export function parseSurrogate(bytes: Uint8Array): SurrogateState {
  const { data } = surrogateState.safeParse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  if (data === undefined) throw new FloodgateError('run', 'surrogate: its state is of another form');
  return data;
}

/** Attacks that a plan tries. */
export const MAX_SEARCHED = MAX_DRAWN;

/** As a manifest, which may have been written before files were hashed, names it. */
interface LooseIdentity {
  readonly sha256: string;
  readonly filesSha256?: string | undefined;
}

/** Identity of a model's weights, config and tokenizer: equal ones draw alike. */
export function modelWeights({ sha256, filesSha256 }: LooseIdentity): string {
  return sha256Of(canonicalJson([sha256, filesSha256 ?? null]));
}

/** Flat parameters as bytes of a blob: float32, little-endian. */
export function adapterBytes(parameters: Float32Array): Uint8Array {
  return new Uint8Array(parameters.buffer, parameters.byteOffset, parameters.byteLength);
}

/**
 * Puts the numbers of a blob into flat parameters.
 * @throws FloodgateError `run` for another size, and for what is no number.
 */
export function readAdapter(bytes: Uint8Array, parameters: Float32Array): void {
  if (bytes.length !== parameters.byteLength)
    throw new FloodgateError('run', `adapter: got ${bytes.length} bytes, expected ${parameters.byteLength}`, {
      hint: 'learner and workers must be of one version of Floodgate',
    });
  const numbers = new Float32Array(bytes.slice().buffer);
  if (!numbers.every(Number.isFinite)) throw new FloodgateError('run', 'adapter: it holds values that are no numbers');
  parameters.set(numbers);
}
