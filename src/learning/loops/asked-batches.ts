import type { AttackSource, SampledAttack } from '../attack.ts';
import type { Attacker, AttackerState } from '../attacker.ts';
import type { RewardFunction } from '../reward/reward.ts';
import { consultReference, type ReferenceRule, type Rollouts, tryRollouts } from './rollout.ts';

/** One attack of a batch, with the score that a surrogate expects of it where attacks are screened. */
export interface DrawnAttack {
  readonly attack: SampledAttack & { readonly source: AttackSource };
  readonly prediction?: number | undefined;
}

/** Fresh attacks of one update, before they were tried. JSON-safe. */
export interface DrawnBatch {
  /** The update that drew them: it names their random streams. */
  readonly update: number;
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

interface AskedBatch<E> {
  readonly drawn: DrawnBatch;
  readonly answers: Promise<TriedBatch<E>>;
  settle(): void;
}

/**
 * Batches that were asked and not taken yet: updates continue while their answers are under way. The objective is
 * off-policy, so an attack teaches the same whenever its answer arrives. First asked, first taken.
 */
export class AskedBatches<E> {
  private readonly asked: AskedBatch<E>[] = [];

  /** The batches under way, for a checkpoint: a resume asks them again. */
  get underWay(): readonly DrawnBatch[] {
    return this.asked.map(({ drawn }) => drawn);
  }

  /**
   * Asks a batch and does not wait for its answers; a failure shows when it is taken.
   *
   * @param embeddings of the attacks, where they are known already.
   */
  async ask(
    { attacker, reference, openReward, embed }: AskingParts<E>,
    rule: ReferenceRule,
    drawn: DrawnBatch,
    embeddings?: readonly (Float32Array | undefined)[],
  ): Promise<void> {
    const attacks = drawn.attacks.map(({ attack }) => attack);
    const opinions = await consultReference(attacker, reference, attacks, rule);
    const known = embeddings ?? (await embed?.(attacks.map(({ text }) => text)));
    const { reward, settle } = openReward();
    const tried = tryRollouts(attacks, opinions, reward, (row) => ['response', drawn.update, row]);
    const answers = tried.then((rollouts) => ({ drawn, tried: rollouts, embeddings: known }));
    answers.catch(() => undefined); // whoever takes the batch hears of it
    this.asked.push({ drawn, answers, settle });
  }

  /** Forgets the batch that was asked last: its update did not end. */
  retract(): void {
    this.asked.pop();
  }

  /** Waits for the first `count` batches and removes them; when one fails, all stay. @throws as target and judges do. */
  async take(count: number): Promise<TriedBatch<E>[]> {
    const tried = await Promise.all(this.asked.slice(0, count).map(({ answers }) => answers));
    for (const { settle } of this.asked.splice(0, count)) settle();
    return tried;
  }
}
