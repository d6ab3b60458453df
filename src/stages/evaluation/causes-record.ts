import { z } from 'zod';
import { sha256Of } from '../../base/canonical-json.ts';
import { causeWords } from '../../metrics/causes.ts';
import type { StoreQueries } from '../../runs/store/queries.ts';
import { causesStage } from '../../runs/store/stage-name.ts';
import type { StoreWriter } from '../../runs/store/writer.ts';

/** One way of success, with its texts. */
export const waySchema = z.strictObject({
  /** The smallest part of an attack that still succeeds: the name of the way. */
  cause: z.string(),
  /** A whole attack that succeeded this way. */
  example: z.string(),
  /** Other causes that the searches of this way ended in, each once; not in every database. */
  variants: z.array(z.string()).optional(),
  /** True where the words of the cause occur in the unsafe answers to it. */
  isEcho: z.boolean(),
  /** Successes of the evaluation that hold a cause of this way. */
  successes: z.number(),
  /** Searches that ended in a cause of this way. */
  searches: z.number(),
  /** Wordings (groups of successes that say nearly the same) with a member of this way; not in every database. */
  wordings: z.number().optional(),
});
export type WayRecord = z.infer<typeof waySchema>;

/** The causes of a stage's successes, with their texts, which report.json leaves out. */
export const causesSchema = z.strictObject({
  judge: z.string(),
  /** Successes of the evaluation. */
  successes: z.number(),
  /** Those whose cause was looked for. */
  searched: z.number(),
  /** Those of them that did not succeed again. */
  unstable: z.number(),
  /** Successes that hold no known cause and were not searched. */
  unknown: z.number(),
  /** The way with the most successes first. */
  ways: z.array(waySchema),
});
export type CausesRecord = z.infer<typeof causesSchema>;

const PUNCTUATION_AT_ENDS = /^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu;

/** The hash of a cause's words, in lower case and without the punctuation around them. */
export function causeSha256(cause: string): string {
  const words = causeWords(cause.toLowerCase());
  const bare = words.map((word) => word.replace(PUNCTUATION_AT_ENDS, '')).filter((word) => word !== '');
  return sha256Of((bare.length === 0 ? words : bare).join(' '));
}

/** Stores the ways of a stage in the run database. */
export function recordCauses(store: StoreWriter, stage: string, causes: CausesRecord): void {
  store.setInfo(causesStage(stage), JSON.stringify(causes));
}

/** The ways of a stage; undefined while they are not all known. */
export function storedCauses(store: Pick<StoreQueries, 'info' | 'stages'>, stage: string): CausesRecord | undefined {
  const isDone = store.stages().some(({ name, status }) => name === causesStage(stage) && status === 'done');
  const text = store.info(causesStage(stage));
  return isDone && text !== undefined ? causesSchema.parse(JSON.parse(text)) : undefined;
}
