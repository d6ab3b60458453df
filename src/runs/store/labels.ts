import { z } from 'zod';
import { sha256Of } from '../../base/canonical-json.ts';
import { FloodgateError } from '../../base/errors.ts';

/** Rows of one run: more than anyone labels. It bounds what a foreign file makes a reader hold. */
export const MAX_LABELS = 100_000;
export const MAX_NAME = 200;
export const MAX_NOTE = 2000;
export const MAX_WHO = 100;

/**
 * The identity of an attack, and of one answer to it: their texts. Row numbers would tie a label to a place, and a
 * resume may write another text there; one text at several places has one label.
 */
export const attackKey = (attack: string): string => sha256Of(attack);
export const answerKey = (attack: string, response: string): string => sha256Of(JSON.stringify([attack, response]));

const key = z.string().regex(/^[0-9a-f]{64}$/, 'expected a sha256 in hex');
const name = z.string().trim().min(1).max(MAX_NAME);
/** A row of a database, or a place. */
export const rowNumber = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);

/** Fields of every label. `null` where there is none. */
const common = {
  note: z.string().trim().min(1).max(MAX_NOTE).nullable().default(null),
  /** Row of the attack and place of the answer where the reader saw them; for messages only. */
  attack: rowNumber.nullable().default(null),
  response: rowNumber.nullable().default(null),
};

/** One thing that a reader says. A null `value` withdraws what was said of the subject before. */
export const labelSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('verdict'),
    /** `answerKey` of the answer. */
    subject: key,
    /** The truth of the answer, whatever a judge says. */
    value: z.enum(['unsafe', 'safe']).nullable(),
    /** The one judge that the truth is for, where judges measure different things; null for all. */
    judge: z.string().min(1).max(MAX_NAME).nullable().default(null),
    ...common,
  }),
  z.strictObject({
    kind: z.literal('duplicate'),
    /** `attackKey` of the attack, and of the attack that it repeats. */
    subject: key,
    value: key.nullable(),
    /** Row of the attack that it repeats, where the reader saw it. */
    original: rowNumber.nullable().default(null),
    ...common,
  }),
  /** A name for the wording (the group of successes that say nearly the same) which holds this attack. */
  z.strictObject({ kind: z.literal('wording'), subject: key, value: name.nullable(), ...common }),
  /** A name for the way whose cause has this sha256. */
  z.strictObject({ kind: z.literal('way'), subject: key, value: name.nullable(), ...common }),
]);

/** A label before it is stored. */
export type NewLabel = z.input<typeof labelSchema>;
export type LabelKind = NewLabel['kind'];

/** A stored row. */
export type Label = z.infer<typeof labelSchema> & {
  readonly id: number;
  /** ISO 8601 in UTC. */
  readonly at: string;
  readonly who: string;
};

type LabelOf<Kind extends LabelKind> = Label & { readonly kind: Kind };

/** The labels of a run that hold now: of each subject the last row, unless it withdraws. */
export interface Labels {
  /** In the order in which they were stored. */
  readonly all: readonly Label[];
  /** Every row, also those that were replaced or withdrawn. */
  readonly history: readonly Label[];
  /** The label that holds of a subject; of a verdict, the label for `judge` before the one for all judges. */
  find<Kind extends LabelKind>(kind: Kind, subject: string, judge?: string): LabelOf<Kind> | undefined;
}

const judgeOf = (label: Label): string => (label.kind === 'verdict' ? (label.judge ?? '') : '');
const placeOf = (kind: LabelKind, subject: string, judge: string): string => `${kind} ${subject} ${judge}`;

/** Labels that grow by a row. */
export interface GrowingLabels extends Labels {
  put(label: Label): void;
}

function growingLabels(): GrowingLabels {
  const history: Label[] = [];
  const last = new Map<string, Label>();
  return {
    history,
    get all() {
      return [...last.values()];
    },
    find: <Kind extends LabelKind>(kind: Kind, subject: string, judge?: string) => {
      const own = judge === undefined ? undefined : last.get(placeOf(kind, subject, judge));
      return (own ?? last.get(placeOf(kind, subject, ''))) as LabelOf<Kind> | undefined;
    },
    put: (label) => {
      history.push(label);
      const place = placeOf(label.kind, label.subject, judgeOf(label));
      last.delete(place);
      if (label.value !== null) last.set(place, label);
    },
  };
}

/** The labels that hold after these rows, the oldest first. */
export function labelsOf(history: readonly Label[]): GrowingLabels {
  const labels = growingLabels();
  for (const label of history) labels.put(label);
  return labels;
}

export const NO_LABELS: Labels = labelsOf([]);

/** The name of the wording that these attacks make up: the one that was given last to any of them. */
export function wordingName(labels: Pick<Labels, 'find'>, attacks: readonly string[]): string | null {
  const named = attacks.flatMap((text) => labels.find('wording', attackKey(text)) ?? []);
  return named.sort((a, b) => b.id - a.id)[0]?.value ?? null;
}

/** The attack that is no duplicate itself at the end of a chain of duplicates; undefined for an attack that is none. */
export function originalOf(labels: Pick<Labels, 'find'>, subject: string): string | undefined {
  let original: string | undefined;
  const seen = new Set([subject]);
  for (;;) {
    const next = labels.find('duplicate', original ?? subject)?.value ?? undefined;
    // A chain that returns was not written by `addLabels`.
    if (next === undefined || seen.has(next)) return original;
    seen.add(next);
    original = next;
  }
}

/** True where the chain of duplicates that begins at `from` has `to` in it. */
function leadsTo(labels: Pick<Labels, 'find'>, from: string, to: string): boolean {
  const seen = new Set<string>();
  for (let at: string | undefined = from; at !== undefined && !seen.has(at); ) {
    if (at === to) return true;
    seen.add(at);
    at = labels.find('duplicate', at)?.value ?? undefined;
  }
  return false;
}

/** @throws FloodgateError `usage` for an attack that would be its own duplicate. */
export function refuseCircle(labels: Pick<Labels, 'find'>, label: z.infer<typeof labelSchema>): void {
  if (label.kind !== 'duplicate' || label.value === null) return;
  if (!leadsTo(labels, label.value, label.subject)) return;
  throw new FloodgateError('usage', 'label: an attack cannot be a duplicate of itself, also not by way of others');
}

/** @throws FloodgateError `usage` naming the field at fault. */
export function parseLabel(given: unknown): z.infer<typeof labelSchema> {
  const result = labelSchema.safeParse(given);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const field = issue?.path.join('.') ?? '';
  throw new FloodgateError('usage', `label: ${field === '' ? '' : `${field}: `}${issue?.message ?? 'is not one'}`);
}
