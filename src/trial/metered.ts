import type { Judge } from '../judges/judge.ts';
import type { Target } from '../targets/target.ts';
import type { CallLog } from './call-log.ts';
import type { CallMeter } from './call-meter.ts';

/** A target on this machine within the budget. It is asked all of a batch or nothing, and answers as it always does. */
export function meterTarget(target: Target, log: CallLog, meter: CallMeter): Target {
  return {
    name: target.name,
    close: () => target.close(),
    ask: async (requests, options) => {
      const calls = requests.length * options.responses;
      const promptTokens = 0;
      const end = await meter.admitTarget(calls, { tokens: options.decode.maxNewTokens, promptTokens });
      try {
        const answers = await target.ask(requests, options);
        for (const [i, { attack }] of requests.entries())
          for (const answer of answers[i] ?? []) log.spend(meter.priceOf(answer, attack));
        return answers;
      } finally {
        end();
      }
    },
  };
}

/** A judge on this machine within the budget; it costs no money. */
export function meterJudge(judge: Judge, log: CallLog, meter: CallMeter): Judge {
  return {
    name: judge.name,
    models: judge.models,
    close: () => judge.close(),
    score: async (exchanges, options) => {
      const end = await meter.admitJudge(exchanges.length);
      try {
        const verdicts = await judge.score(exchanges, options);
        log.spend({ judgeCalls: exchanges.length });
        return verdicts;
      } finally {
        end();
      }
    },
  };
}
