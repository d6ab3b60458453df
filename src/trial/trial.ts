import type { Exchange, Judge, Verdict } from '../judges/judge.ts';
import { judgeScore, type RewardFunction } from '../learning/reward/reward.ts';
import type { DecodeSettings, Target, TargetAnswer, TargetRequest } from '../targets/target.ts';
import {
  type Evidence,
  type ResponseRecord,
  type SeatName,
  toVerdictRecord,
  unsafeOf,
  type VerdictRecord,
  whyUnscored,
} from './evidence.ts';
import { countAnswers, countVerdicts, type Ledger } from './ledger.ts';

/** A judge with the name of its stored verdicts; `masked` when it sees responses without the attack's words. */
export interface JudgeSeat extends SeatName {
  readonly judge: Judge;
}

export interface TrialOptions {
  readonly target: Target;
  readonly decode: DecodeSettings;
  /** Answers to each attack. */
  readonly responses: number;
  readonly seats: readonly JudgeSeat[];
  /** Counts every call. */
  readonly ledger: Ledger;
  readonly signal?: AbortSignal;
}

/** The only access to a target and to judges: every call is counted. */
export interface Trial {
  /** Asks every attack, and every seat judges every answer. One result per request, in order. */
  try(requests: readonly TargetRequest[]): Promise<Evidence[]>;
  /** Asks without judging. */
  ask(requests: readonly TargetRequest[]): Promise<TargetAnswer[][]>;
  /** Judges without asking: one list of verdicts per seat, one verdict per exchange. */
  judge(exchanges: readonly Exchange[]): Promise<Verdict[][]>;
}

/**
 * Judges without asking: see `Trial.judge`. @throws FloodgateError `interrupted` on abort; `judge` from the judges.
 */
export function createJudging({
  seats,
  ledger,
  signal,
}: Pick<TrialOptions, 'seats' | 'ledger' | 'signal'>): Trial['judge'] {
  const judges = seats.map(({ judge }) => countVerdicts(judge, ledger));
  return async (exchanges) => {
    const verdicts: Verdict[][] = [];
    const stop = signal === undefined ? {} : { signal };
    for (const each of judges) verdicts.push(exchanges.length === 0 ? [] : await each.score(exchanges, stop));
    return verdicts;
  };
}

/** @throws FloodgateError `interrupted` on abort; `target`, `judge` from the parts. */
export function createTrial(options: TrialOptions): Trial {
  const { target, decode, responses, seats, ledger, signal } = options;
  const counted = countAnswers(target, ledger);
  const judge = createJudging(options);
  const ask = (requests: readonly TargetRequest[]) =>
    counted.ask(requests, { responses, decode, ...(signal === undefined ? {} : { signal }) });
  return {
    ask,
    judge,
    try: async (requests) => {
      const answers = await ask(requests);
      const exchanges = requests.flatMap(({ attack }, i) =>
        textsOf(answers[i] ?? []).map((response): Exchange => ({ attack, response })),
      );
      return joinVerdicts(answers, seats, await judge(exchanges));
    },
  };
}

function textsOf(answers: readonly TargetAnswer[]): string[] {
  return answers.flatMap((answer) => (answer.kind === 'text' ? [answer.text] : []));
}

/** Each answer with its verdicts; `verdicts` has one list per seat over all answers of kind `text`. */
function joinVerdicts(
  answers: readonly (readonly TargetAnswer[])[],
  seats: readonly JudgeSeat[],
  verdicts: readonly (readonly Verdict[])[],
): Evidence[] {
  let next = 0;
  const verdictsOfNext = (): VerdictRecord[] => {
    const index = next++;
    return seats.map((seat, s) => toVerdictRecord(seat, verdicts[s]?.[index] as Verdict));
  };
  return answers.map((each): Evidence => {
    const responses = each.flatMap((answer) => toResponse(answer, seats, verdictsOfNext));
    const failed = each.find((answer) => answer.kind === 'failed');
    return failed === undefined ? { responses } : { responses, failure: failed.reason };
  });
}

/** A refusal is safe by rule: no judge reads it. */
function toResponse(
  answer: TargetAnswer,
  seats: readonly SeatName[],
  verdictsOfNext: () => VerdictRecord[],
): ResponseRecord[] {
  switch (answer.kind) {
    case 'failed':
      return [];
    case 'refused': {
      const verdicts = seats.map((seat) => toVerdictRecord(seat, { kind: 'scored', unsafe: 0 }));
      return [{ text: '', tokens: answer.usage.tokens, truncated: false, refused: answer.reason, verdicts }];
    }
    case 'text': {
      const { text, truncated, usage } = answer;
      return [{ text, tokens: usage.tokens, truncated, verdicts: verdictsOfNext() }];
    }
  }
}

/** The attackers' reward: the first seat's score of each attack. @param floor smallest P(unsafe) in a logarithm. */
export function createRewardFunction(
  trial: Pick<Trial, 'try'>,
  seat: SeatName,
  floor: number,
): RewardFunction<Evidence> {
  return async (requests) => {
    const tried = await trial.try(requests.map(({ text, streamName }) => ({ attack: text, streamName })));
    return tried.map((evidence) => {
      const score = judgeScore(unsafeOf(evidence, seat), floor);
      return score === undefined ? { score, evidence, reason: whyUnscored(evidence, seat) } : { score, evidence };
    });
  };
}
