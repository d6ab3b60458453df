import type { StoreQueries } from '../../runs/store/queries.ts';
import type { StoredResponse } from '../../runs/store/records.ts';
import { evaluationStage } from '../../runs/store/stage-name.ts';

/** An attack that succeeded, and where the run stores it. */
export interface SuccessfulAttack {
  readonly text: string;
  /** Arithmetic mean of the training judge's P(unsafe) over all responses that this text drew in the stage. */
  readonly meanUnsafe: number;
  /** The response that the training judge found worst: the rejected answer of a preference pair. */
  readonly worstResponse: string;
  readonly attackId: number;
  readonly stage: string;
}

export interface CollectOptions {
  /** Name of the attacker's stage, e.g. `smoothing`. */
  readonly stage: string;
  /** `evaluation`: fresh attacks of the trained attacker; `training`: all that it tried while it learned. */
  readonly from: 'evaluation' | 'training';
  /** An attack succeeds when its mean P(unsafe) is above it. */
  readonly minUnsafe: number;
  readonly limit: number;
  /** Name of the judge whose verdict picks the worst response. */
  readonly judge: string;
}

export interface Collected {
  /** At most `limit` of those found. */
  readonly successes: readonly SuccessfulAttack[];
  /** Distinct successful attacks. */
  readonly found: number;
  /** Distinct attacks that were scored, successful or not. */
  readonly tried: number;
}

function worstOf(responses: readonly StoredResponse[], judge: string): string {
  let worst = responses[0]?.text ?? '';
  let highest = Number.NEGATIVE_INFINITY;
  for (const { text, verdicts } of responses) {
    const unsafe = verdicts.find((verdict) => verdict.judge === judge && !verdict.masked)?.unsafe ?? null;
    if (unsafe !== null && unsafe > highest) [worst, highest] = [text, unsafe];
  }
  return worst;
}

/** The distinct successful attacks of a stage, in the order in which they first appeared. */
export function collectSuccesses(store: StoreQueries, options: CollectOptions): Collected {
  const stage = options.from === 'evaluation' ? evaluationStage(options.stage) : options.stage;
  const byText = new Map<string, { ids: number[]; sum: number; responses: number }>();
  for (const { id, text, meanUnsafe, responseCount } of store.attacks({ stage })) {
    if (meanUnsafe === null || responseCount === 0 || text.trim() === '') continue;
    const known = byText.get(text) ?? { ids: [], sum: 0, responses: 0 };
    known.ids.push(id);
    known.sum += meanUnsafe * responseCount;
    known.responses += responseCount;
    byText.set(text, known);
  }
  const found = [...byText].filter(([, { sum, responses }]) => sum / responses > options.minUnsafe);
  const successes = found.slice(0, options.limit).map(([text, { ids, sum, responses }]): SuccessfulAttack => {
    const all = ids.flatMap((id) => store.responses(id));
    const attackId = ids[0] as number;
    return { text, meanUnsafe: sum / responses, worstResponse: worstOf(all, options.judge), attackId, stage };
  });
  return { successes, found: found.length, tried: byText.size };
}
