import { FloodgateError } from '../base/errors.ts';
import { isUnsafe } from '../learning/reward/reward.ts';
import type { VerdictRecord } from '../trial/evidence.ts';
import type { RunFolder } from './run-folder.ts';
import { type AttackPages, openAttackPages } from './store/attack-pages.ts';
import { addLabels, systemUser } from './store/label-store.ts';
import { answerKey, attackKey, type Label, type NewLabel } from './store/labels.ts';
import { hasBegun } from './store/run-store.ts';

interface Wish {
  readonly note?: string | null | undefined;
  /** Key of the attack or answer that the reader saw; a label for another text at its place is refused. */
  readonly subject?: string | undefined;
}

/** A label as a reader gives it: by the numbers of a run's present rows. A null value withdraws. */
export type LabelWish = Wish &
  (
    | {
        readonly kind: 'verdict';
        readonly attack: number;
        /** Place among the answers, from 0. */
        readonly response: number;
        /** The truth; or whether the verdict of `judge` is right. */
        readonly value: 'unsafe' | 'safe' | 'right' | 'wrong' | null;
        /** The one judge that it is for; none: all. */
        readonly judge?: string | null | undefined;
      }
    /** `value` is the row of the attack that it repeats. */
    | { readonly kind: 'duplicate'; readonly attack: number; readonly value: number | null }
    | { readonly kind: 'wording'; readonly attack: number; readonly value: string | null }
    /** `subject` is the sha256 of the cause. */
    | { readonly kind: 'way'; readonly subject: string; readonly value: string | null }
  );

type VerdictWish = LabelWish & { readonly kind: 'verdict' };

function unknown(run: string, what: string): FloodgateError {
  return new FloodgateError('usage', `label ${run}: it has no ${what}`, {
    hint: 'floodgate view and floodgate export show the numbers of attacks',
  });
}

function checkSubject(run: string, { subject }: Wish, found: string): void {
  if (subject === undefined || subject === found) return;
  throw new FloodgateError('run', `label ${run}: another text is at this place now`, {
    hint: 'the run was resumed meanwhile: look at the attack again',
  });
}

/** The truth that a wish means for an answer with these verdicts. @throws FloodgateError `usage`. */
function truthOf(run: string, { value, judge = null }: VerdictWish, verdicts: readonly VerdictRecord[]) {
  if (value === null) return null;
  const own = verdicts.filter(({ masked }) => !masked);
  const said = own.find((each) => each.judge === judge);
  if (judge !== null && said === undefined) {
    const names = own.map((each) => each.judge).join(', ');
    throw new FloodgateError(
      'usage',
      `label ${run}: got judge ${judge}, expected ${names || 'an answer with a verdict'}`,
    );
  }
  if (value === 'unsafe' || value === 'safe') return value;
  if (said === undefined || said.unsafe === null)
    throw new FloodgateError('usage', `label ${run}: ${value} is said of a judge that scored the answer`, {
      hint: 'name it with --judge, or say unsafe or safe',
    });
  return isUnsafe(said.unsafe) === (value === 'right') ? 'unsafe' : 'safe';
}

/** The label that a wish means, by the texts that are in the run now. @throws FloodgateError `usage`, `run`. */
function resolveWish(run: string, pages: AttackPages, wish: LabelWish): NewLabel {
  const { note = null } = wish;
  if (wish.kind === 'way') return { kind: 'way', subject: wish.subject, value: wish.value, note };
  const textOf = (id: number): string => {
    const found = pages.attack(id);
    if (found === undefined) throw unknown(run, `attack ${id}`);
    return found.attack.text;
  };
  const text = textOf(wish.attack);
  if (wish.kind === 'verdict') {
    const { attack, response, judge = null } = wish;
    const answer = pages.attack(attack)?.responses.find(({ position }) => position === response);
    if (answer === undefined) throw unknown(run, `answer ${response + 1} to attack ${attack}`);
    if (answer.refused !== undefined)
      throw new FloodgateError('usage', `label ${run}: answer ${response + 1} to attack ${attack} is a refusal`, {
        hint: 'the provider refused, so there is no text: it is safe by rule, and no judge reads it',
      });
    const subject = answerKey(text, answer.text);
    checkSubject(run, wish, subject);
    const value = truthOf(run, wish, answer.verdicts);
    return { kind: 'verdict', subject, value, judge, note, attack, response };
  }
  const subject = attackKey(text);
  checkSubject(run, wish, subject);
  if (wish.kind === 'wording') return { kind: 'wording', subject, value: wish.value, note, attack: wish.attack };
  const value = wish.value === null ? null : attackKey(textOf(wish.value));
  return { kind: 'duplicate', subject, value, note, attack: wish.attack, original: wish.value };
}

/**
 * Labels attacks and answers of a run, all of `wishes` or none. The run itself is read and never written, also while it
 * trains.
 * @throws FloodgateError `usage` for an attack that is not there or a wrong label; `run` where the text at a place is no
 * longer the one that was seen; `store` when the disk refuses.
 */
export function labelRun(folder: RunFolder, wishes: readonly LabelWish[], who = systemUser()): Label[] {
  if (!hasBegun(folder.databasePath)) throw unknown(folder.name, 'attack yet');
  const pages = openAttackPages(folder.databasePath);
  try {
    return addLabels(
      folder.labelsPath,
      wishes.map((wish) => resolveWish(folder.name, pages, wish)),
      who,
    );
  } finally {
    pages.close();
  }
}
