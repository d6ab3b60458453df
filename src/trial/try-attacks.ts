import type { Exchange, Judge, Verdict } from '../judges/judge.ts';
import { judgeScore } from '../learning/reward/reward.ts';
import type { RewardFunction } from '../learning/reward/reward-function.ts';
import type { ResponseRecord, VerdictRecord } from '../runs/store/records.ts';
import type { DecodeSettings, Target } from '../targets/target.ts';

/** One judge's opinion is stored under its own name; `masked` when the attack's words were taken out first. */
export interface JudgeSeat {
  readonly judge: Judge;
  readonly masked: boolean;
  /** The name of the judge without masking. */
  readonly name: string;
}

export interface TrialOptions {
  readonly target: Target;
  readonly decode: DecodeSettings;
  readonly responses: number;
  readonly seats: readonly JudgeSeat[];
  readonly signal?: AbortSignal;
}

/** Calls made so far, to be taken by whoever stores the next update. */
export interface CallCounter {
  targetCalls: number;
  judgeCalls: number;
  tokens: number;
}

export function createCallCounter(): CallCounter {
  return { targetCalls: 0, judgeCalls: 0, tokens: 0 };
}

/** What trying one attack left behind; `rejected` says why it could not be asked at all. */
export interface Trial {
  readonly responses: readonly ResponseRecord[];
  readonly rejected?: string;
}

export interface TrialRequest {
  readonly text: string;
  readonly streamName: readonly (string | number)[];
}

function toRecord(seat: JudgeSeat, verdict: Verdict): VerdictRecord {
  const base = { judge: seat.name, masked: seat.masked };
  return verdict.kind === 'scored'
    ? { ...base, unsafe: verdict.unsafe }
    : { ...base, unsafe: null, reason: verdict.reason };
}

/**
 * Asks the target every attack and has every judge score every response. An attack that the target cannot be asked
 * (too long) comes back without responses and with the reason.
 */
export async function tryAttacks(
  requests: readonly TrialRequest[],
  options: TrialOptions,
  calls: CallCounter,
): Promise<Trial[]> {
  const { target, decode, responses, seats, signal } = options;
  const rejections = requests.map(({ text }) => target.rejectionOf(text, decode));
  const asked = requests.filter((_request, i) => rejections[i] === undefined);
  const answers = await target.respond(
    asked.map(({ text, streamName }) => ({ attack: text, streamName })),
    responses,
    decode,
    signal === undefined ? {} : { signal },
  );
  const exchanges = asked.flatMap(({ text }, i): Exchange[] =>
    (answers[i] ?? []).map((answer) => ({ attack: text, response: answer.text })),
  );
  const verdicts: Verdict[][] = [];
  for (const { judge } of seats) verdicts.push(await judge.score(exchanges));
  calls.targetCalls += exchanges.length;
  calls.judgeCalls += exchanges.length * seats.length;
  let next = 0;
  const trials = answers.map((perAttack): Trial => {
    const records = perAttack.map(({ text, tokens, truncated }): ResponseRecord => {
      const index = next++;
      calls.tokens += tokens;
      return {
        text,
        tokens,
        truncated,
        verdicts: seats.map((seat, s) => toRecord(seat, verdicts[s]?.[index] as Verdict)),
      };
    });
    return { responses: records };
  });
  let answered = 0;
  return rejections.map((rejected) =>
    rejected === undefined ? (trials[answered++] as Trial) : { responses: [], rejected },
  );
}

/** P(unsafe) of the responses that this seat could score. */
export function unsafeOf(trial: Pick<Trial, 'responses'>, seat: Pick<JudgeSeat, 'name' | 'masked'>): number[] {
  return trial.responses.flatMap(({ verdicts }) =>
    verdicts.flatMap(({ judge, masked, unsafe }) =>
      judge === seat.name && masked === seat.masked && unsafe !== null ? [unsafe] : [],
    ),
  );
}

/** Arithmetic mean of this seat's P(unsafe) over the responses that it could score; null when there is none. */
export function meanUnsafeOf(trial: Pick<Trial, 'responses'>, seat: Pick<JudgeSeat, 'name' | 'masked'>): number | null {
  const unsafe = unsafeOf(trial, seat);
  return unsafe.length === 0 ? null : unsafe.reduce((sum, p) => sum + p, 0) / unsafe.length;
}

function whyUnscored({ rejected, responses }: Trial, seat: JudgeSeat): string {
  const verdicts = responses.flatMap((response) => response.verdicts);
  const reason = verdicts.find(({ judge, masked }) => judge === seat.name && masked === seat.masked)?.reason;
  return rejected ?? reason ?? 'the target gave no response';
}

/** The reward as training sees it: the rewarding seat's score of each attack. */
export function createRewardFunction(options: TrialOptions, floor: number, calls: CallCounter): RewardFunction<Trial> {
  const rewarding = options.seats[0] as JudgeSeat;
  return async (requests) => {
    const trials = await tryAttacks(requests, options, calls);
    return trials.map((trial) => {
      const score = judgeScore(unsafeOf(trial, rewarding), floor);
      return score === undefined
        ? { score, evidence: trial, reason: whyUnscored(trial, rewarding) }
        : { score, evidence: trial };
    });
  };
}
