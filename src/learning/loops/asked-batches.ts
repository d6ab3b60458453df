import type { AttackSource, SampledAttack } from '../attack.ts';
import type { Attacker, AttackerState } from '../attacker.ts';
import type { RewardFunction } from '../reward/reward.ts';
import { consultReference, type ReferenceOpinion, type ReferenceRule, type Rollouts, tryRollouts } from './rollout.ts';

/** One attack of a batch, with the score that a surrogate expects of it where attacks are screened. */
export interface DrawnAttack {
  readonly attack: SampledAttack & { readonly source: AttackSource };
  readonly prediction?: number | undefined;
}

/** Fresh attacks of one update, before they were tried. JSON-safe. */
export interface DrawnBatch {
  /** The update that drew them: it names their random streams. */
  readonly update: number;
  /** The cell of all its attacks; absent for an attacker without cells. */
  readonly cell?: string;
  readonly attacks: readonly DrawnAttack[];
}

/** A batch with its answers. */
export interface TriedBatch<E> {
  readonly drawn: DrawnBatch;
  readonly tried: Rollouts<DrawnAttack['attack'], E>;
  readonly embeddings: readonly (Float32Array | undefined)[] | undefined;
}

/** The reward of one batch, with an account of its own: its calls count when the batch is taken. */
export interface BatchReward<E> {
  readonly reward: RewardFunction<E>;
  settle(): void;
}

export interface AskingParts<E> {
  readonly attacker: Attacker;
  readonly reference: AttackerState;
  readonly openReward: () => BatchReward<E>;
  readonly embed?: (texts: readonly string[]) => Promise<Float32Array[]>;
}

/** The part of the reference's opinion that enters the reward. */
export type KnownOpinion = Pick<ReferenceOpinion, 'logPRef' | 'fluency'>;

/** A batch that is drawn elsewhere. */
export interface BatchElsewhere {
  readonly update: number;
  readonly cell?: string;
  /** Its attacks, drawn or not. */
  readonly size: number;
  /** The attacks, the reference's opinion of each, and who is told that their answers are stored. */
  readonly drawn: Promise<{
    readonly batch: DrawnBatch;
    readonly opinions: readonly KnownOpinion[];
    stored(): void;
  }>;
  /** Draws the same attacks here: for a checkpoint that cannot wait. */
  redraw(): Promise<DrawnBatch>;
}

/** A batch that is asked and not taken yet. */
export interface BatchUnderWay {
  readonly update: number;
  readonly cell?: string;
  readonly size: number;
}

interface AskedBatch<E> extends BatchUnderWay {
  /** The attacks, for a checkpoint. */
  drawn(): Promise<DrawnBatch>;
  readonly answers: Promise<TriedBatch<E>>;
  settle(): void;
}

interface AskedWith {
  /** Of the attacks, where they are known already. */
  readonly embeddings?: readonly (Float32Array | undefined)[] | undefined;
  /** Told when the answers are stored. */
  readonly stored?: (() => void) | undefined;
}

/** Which batches an update takes. */
export interface TakeRule {
  /** At least so many. */
  readonly count: number;
  /** Absent: those that were asked first. */
  readonly arrival?: {
    /** Batches of this update and of earlier ones are taken, however long that takes. */
    readonly oldest: number;
    /** Updates of the batches that were taken here before a stop; undefined where this is the first time. */
    readonly before: readonly number[] | undefined;
  };
}

/**
 * Batches that were asked and not taken yet: updates continue while their answers are under way. The objective is
 * off-policy, so an attack teaches the same whenever its answer arrives. First asked, first taken, unless a rule takes
 * those that are answered first.
 */
export class AskedBatches<E> {
  private readonly asked: AskedBatch<E>[] = [];
  /** Those that are answered, in the order in which their answers came. */
  private readonly answered = new Set<AskedBatch<E>>();

  /** The batches under way. */
  get underWay(): readonly BatchUnderWay[] {
    return this.asked.map(({ update, cell, size }) => ({ update, ...(cell === undefined ? {} : { cell }), size }));
  }

  /** The attacks of the batches under way, for a checkpoint: a resume asks them again. Waits until all are drawn. */
  async drawn(): Promise<readonly DrawnBatch[]> {
    return Promise.all(this.asked.map((batch) => batch.drawn()));
  }

  /** Asks a batch and does not wait for its answers; a failure shows when it is taken. */
  async ask(
    { attacker, reference, openReward, embed }: AskingParts<E>,
    rule: ReferenceRule,
    drawn: DrawnBatch,
    { embeddings, stored }: AskedWith = {},
  ): Promise<void> {
    const attacks = drawn.attacks.map(({ attack }) => attack);
    const opinions = await consultReference(attacker, reference, attacks, rule);
    const known = embeddings ?? (await embed?.(attacks.map(({ text }) => text)));
    const { reward, settle } = openReward();
    const tried = tryBatch(drawn, opinions, reward);
    const answers = tried.then((rollouts) => {
      stored?.();
      return { drawn, tried: rollouts, embeddings: known };
    });
    const { attacks: _known, ...place } = drawn;
    this.add({ ...place, size: attacks.length, drawn: async () => drawn, answers, settle });
  }

  /** Asks a batch as soon as it is drawn elsewhere, and waits for neither. Its reference was consulted there. */
  search({ openReward }: Pick<AskingParts<E>, 'openReward'>, elsewhere: BatchElsewhere): void {
    const { drawn: found, redraw, ...place } = elsewhere;
    const { reward, settle } = openReward();
    const answers = found.then(async ({ batch, opinions, stored }) => {
      const tried = await tryBatch(batch, opinions, reward);
      stored();
      return { drawn: batch, tried, embeddings: undefined };
    });
    const drawn = (): Promise<DrawnBatch> => found.then(({ batch }) => batch, redraw);
    this.add({ ...place, drawn, answers, settle });
  }

  private add(batch: AskedBatch<E>): void {
    // Whoever takes the batch hears of a failure.
    batch.answers.then(
      () => this.answered.add(batch),
      () => undefined,
    );
    this.asked.push(batch);
  }

  /** Forgets the batch that was asked last: its update did not end. */
  retract(): void {
    this.asked.pop();
  }

  /** Waits for batches and removes them, in the order of asking; when one fails, all stay. @throws as target and judges do. */
  async take(rule: TakeRule): Promise<TriedBatch<E>[]> {
    const chosen = await this.choose(rule);
    const tried = await Promise.all(chosen.map(({ answers }) => answers));
    for (const batch of chosen) {
      this.asked.splice(this.asked.indexOf(batch), 1);
      this.answered.delete(batch);
      batch.settle();
    }
    return tried;
  }

  private async choose({ count, arrival }: TakeRule): Promise<AskedBatch<E>[]> {
    if (arrival === undefined) return this.asked.slice(0, count);
    const { oldest, before } = arrival;
    if (before !== undefined) return this.asked.filter(({ update }) => before.includes(update));
    const chosen = new Set(this.asked.filter(({ update }) => update <= oldest));
    while (chosen.size < Math.min(count, this.asked.length)) {
      const rest = this.asked.filter((batch) => !chosen.has(batch));
      const first = [...this.answered].find((batch) => rest.includes(batch));
      chosen.add(first ?? (await Promise.race(rest.map((batch) => batch.answers.then(() => batch)))));
    }
    return this.asked.filter((batch) => chosen.has(batch));
  }
}

function tryBatch<E>({ update, attacks }: DrawnBatch, opinions: readonly KnownOpinion[], reward: RewardFunction<E>) {
  const all = attacks.map(({ attack }) => attack);
  return tryRollouts(all, opinions, reward, (row) => responseStream(update, row));
}

/** Names the random streams of the answers to one attack of a batch. */
export function responseStream(update: number, row: number): [string, number, number] {
  return ['response', update, row];
}
