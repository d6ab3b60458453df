import { canonicalJson } from '../base/canonical-json.ts';
import type { AskJob, SearchedResult } from './protocol.ts';

/** Most attacks whose answers wait for whoever asks. Stops searches that nobody takes from filling the memory. */
const MOST_WAITING = 65_536;

/** A question to a target, whoever asks it. */
export type Question = Pick<AskJob, 'part' | 'attack' | 'streamName' | 'samples' | 'decode'>;
type Asked = NonNullable<SearchedResult['attacks'][number]['asked']>;

function keyOf({ part, attack, streamName, samples, decode }: Question): string {
  return canonicalJson([part, attack, streamName, samples, decode]);
}

/** Answers that came with the attacks of a search, until the run asks for them. */
export class ComeAnswers {
  private readonly waiting = new Map<string, Asked>();

  come(question: Question, asked: Asked): void {
    this.waiting.set(keyOf(question), asked);
    for (const key of this.waiting.keys()) {
      if (this.waiting.size <= MOST_WAITING) break;
      this.waiting.delete(key);
    }
  }

  /** The answers and verdicts, once. */
  take(question: Question): Asked | undefined {
    if (this.waiting.size === 0) return undefined;
    const key = keyOf(question);
    const asked = this.waiting.get(key);
    this.waiting.delete(key);
    return asked;
  }
}
