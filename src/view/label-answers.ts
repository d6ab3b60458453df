import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { FloodgateError } from '../base/errors.ts';
import { createCauseFinder, type KnownCause, knownCauses } from '../exports/known-causes.ts';
import { toParts } from '../report/sections/text-vault.ts';
import { type LabelWish, labelRun } from '../runs/labelled-run.ts';
import { countingJudgeOf } from '../runs/manifest.ts';
import type { RunFolder } from '../runs/run-folder.ts';
import { readLabels, withdrawLabel } from '../runs/store/label-store.ts';
import { attackKey, type Label, type Labels, MAX_NAME, MAX_NOTE } from '../runs/store/labels.ts';
import { hasBegun, openStore, type RunStore } from '../runs/store/run-store.ts';
import { causesOf } from '../runs/store/stage-name.ts';
import { ApiError } from '../serve/api-error.ts';
import { readJson } from '../serve/http-guard.ts';
import { answerOrder, labelledSample, placesAtRandom } from '../studies/calibration/labelled-answers.ts';
import type { KeptAnswers } from './run-content.ts';

/** A label with the longest name and note, escaped, has less. */
const MAX_LABEL_BYTES = 16_384;

const subject = z.string().regex(/^[0-9a-f]{64}$/);
const row = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const note = z.string().max(MAX_NOTE).nullable().optional();
const name = z.string().trim().min(1).max(MAX_NAME).nullable();

/** A label as the page sends it: each with the key of the text that the reader saw. */
const sentLabel = z.discriminatedUnion('kind', [
  z.strictObject({
    ...{ kind: z.literal('verdict'), attack: row, response: row, subject, note },
    ...{ value: z.enum(['unsafe', 'safe']).nullable(), judge: z.string().min(1).max(MAX_NAME).nullable().optional() },
  }),
  z.strictObject({ kind: z.literal('duplicate'), attack: row, subject, value: row.nullable(), note }),
  z.strictObject({ kind: z.literal('wording'), attack: row, subject, value: name, note }),
  z.strictObject({ kind: z.literal('way'), subject, value: name, note }),
]) satisfies z.ZodType<LabelWish>;

/** Takes back a label by its row, whatever it says. */
const withdrawal = z.strictObject({ withdraw: z.number().int().min(1).max(Number.MAX_SAFE_INTEGER) });

/** A label as the page shows it. Names and notes may be somebody else's: what hides or reorders text is an escape. */
export function shownLabel(label: Label) {
  const { kind, value, who, at, note: why } = label;
  const isName = kind === 'wording' || kind === 'way';
  return {
    ...{ kind, value, at, who: toParts(who) },
    ...(isName && value !== null ? { name: toParts(value) } : {}),
    ...(why === null ? {} : { note: toParts(why) }),
    ...(kind === 'duplicate' ? { original: label.original } : {}),
  };
}

const shownOrNull = (label: Label | undefined) => (label === undefined ? null : shownLabel(label));

/** The labels of one attack, with the key that a new label of it needs. */
export function attackLabels(labels: Labels, text: string) {
  const key = attackKey(text);
  return {
    subject: key,
    duplicate: shownOrNull(labels.find('duplicate', key)),
    wording: shownOrNull(labels.find('wording', key)),
  };
}

/** The label of one answer: for all judges, or for one of them alone. */
export function answerLabel(labels: Labels, key: string, judge: string | null = null) {
  const label = labels.find('verdict', key, judge ?? undefined);
  return shownOrNull(label?.judge === judge ? label : undefined);
}

async function withStore<T>(folder: RunFolder, none: T, use: (store: RunStore) => T | Promise<T>): Promise<T> {
  if (!hasBegun(folder.databasePath)) return none;
  const store = await openStore(folder.databasePath, { readOnly: true });
  try {
    return await use(store);
  } finally {
    store.close();
  }
}

const causesIn = (store: RunStore): KnownCause[] =>
  knownCauses(
    store,
    store.stages().flatMap(({ name: stage }) => causesOf(stage) ?? []),
  );

/** The causes of a run's ways, that with the most successes first. */
export const causesOfRun = (folder: RunFolder): Promise<readonly KnownCause[]> => withStore(folder, [], causesIn);

/** The way whose cause an attack holds, with its name; null where none is known. */
export async function wayOf(folder: RunFolder, labels: Labels, attack: string) {
  return withStore(folder, null, (store) => {
    const held = createCauseFinder(causesIn(store))(attack);
    if (held === undefined) return null;
    return { cause: held.cause, subject: held.sha256, label: shownOrNull(labels.find('way', held.sha256)) };
  });
}

/** The next answer of the random sample that has no label, and how far the sample is. */
export async function sampleAnswer(folder: RunFolder, kept: KeptAnswers) {
  const none = { next: null, judge: '', answers: 0, inSample: 0 };
  return withStore(folder, none, async (store) => {
    const judge = await countingJudgeOf(folder);
    const order = answerOrder(store, await kept.ofDatabase('places', folder, () => placesAtRandom(store)));
    const { labelled, next } = labelledSample(order, readLabels(folder.labelsPath), judge);
    return {
      next: next === undefined ? null : { attack: next.attack, response: next.answer },
      ...{ judge, answers: order.count, inSample: labelled.length },
    };
  });
}

/** Refuses a name for a cause that the run does not have. */
async function checkCause(folder: RunFolder, { kind, subject: key }: z.infer<typeof sentLabel>): Promise<void> {
  if (kind !== 'way') return;
  const isKnown = await withStore(folder, false, (store) => causesIn(store).some(({ sha256 }) => sha256 === key));
  if (!isKnown) throw new ApiError(404, 'there is no such way here', { code: 'unknown_way' });
}

/** Stores the label of a request, or takes one back. @throws ApiError 400, 404, 409 where the attack has changed, 413. */
export async function addedLabel(folder: RunFolder, request: IncomingMessage) {
  const body = await readJson(request, MAX_LABEL_BYTES);
  const taken = withdrawal.safeParse(body);
  if (taken.success) {
    const { withdraw } = taken.data;
    return stored(() => withdrawLabel(folder.labelsPath, withdraw));
  }
  const sent = sentLabel.safeParse(body);
  if (!sent.success) {
    const field = sent.error.issues[0]?.path.join('.') ?? '';
    throw new ApiError(400, `the label is wrong${field === '' ? '' : `: ${field}`}`, { code: 'bad_label' });
  }
  await checkCause(folder, sent.data);
  const why = sent.data.note?.trim();
  return stored(() => labelRun(folder, [{ ...sent.data, note: why === '' ? null : why }])[0]);
}

/** The label that `store` made, as the page shows it. */
function stored(store: () => Label | undefined) {
  try {
    return { label: shownOrNull(store()) };
  } catch (error) {
    if (!(error instanceof FloodgateError)) throw error;
    if (error.code === 'usage') throw new ApiError(400, error.message, { code: 'bad_label' });
    if (error.code === 'run') throw new ApiError(409, error.message, { code: 'changed' });
    throw error;
  }
}
