import { canonicalJson, sha256Of } from '../base/canonical-json.ts';
import { FloodgateError } from '../base/errors.ts';
import type { Exchange, Judge, ScoreOptions, Verdict } from '../judges/judge.ts';
import { BegunCalls, type CallLog, type EndOfBegun } from './call-log.ts';
import type { CallMeter } from './call-meter.ts';

export interface KeptVerdicts {
  /** Everything that decides how the judge scores: see `identityOf`. */
  readonly identity: string;
  readonly log: CallLog;
  readonly meter: CallMeter;
  /** False: every verdict is asked for again. */
  readonly reads: boolean;
}

/** Exchanges scored at once by a judge that is made of judges: a kill loses at most these. */
const CHUNK = 16;

const textOf = ({ attack, response }: Exchange): string => attack + response;

function interrupted({ name }: Judge): FloodgateError {
  return new FloodgateError('interrupted', `${name}: interrupted`);
}

/**
 * The judge with every verdict written to `log` the moment it arrives, and looked up there before it is asked. One
 * exchange has one verdict in a run. A verdict that could not be scored is not kept: it is asked again.
 */
export function keepVerdicts(judge: Judge, { identity, log, meter, reads }: KeptVerdicts): Judge {
  const keyOf = ({ attack, response }: Exchange): string =>
    sha256Of(canonicalJson(['verdict', identity, attack, response]));

  const find = (key: string): Verdict | undefined => {
    const value = log.find(key);
    return value === undefined ? undefined : (JSON.parse(value) as Verdict);
  };

  const keep = (key: string, verdict: Verdict, exchange: Exchange, begun: BegunCalls): void => {
    const paid = meter.priceOfVerdict(verdict, textOf(exchange));
    if (verdict.kind === 'scored') log.keep(key, JSON.stringify(verdict), paid, begun.came());
    else log.fail(key, verdict.reason, paid, begun.came());
  };

  type Missing = readonly (readonly [key: string, exchange: Exchange])[];

  const scoreTogether = async (missing: Missing, verdicts: Map<string, Verdict>, options: ScoreOptions) => {
    const end = await meter.admitJudge(missing.length, missing.map(([, exchange]) => textOf(exchange)).join(''));
    const begun = new BegunCalls(log, 'judgeCalls');
    let ended: EndOfBegun | undefined;
    // A concurrent judge is given single exchanges and holds most of them back: one is begun when its first call is.
    const onCall = (): void => {
      ended ??= begun.begin(missing.length);
    };
    let isBrokenOff = true;
    try {
      if (judge.isConcurrent !== true) onCall();
      const scored = await judge.score(
        missing.map(([, exchange]) => exchange),
        { ...options, onCall },
      );
      isBrokenOff = false;
      for (const [i, [key, exchange]] of missing.entries()) {
        keep(key, scored[i] as Verdict, exchange, begun);
        verdicts.set(key, scored[i] as Verdict);
      }
    } finally {
      ended?.(isBrokenOff && options.signal?.aborted);
      end();
    }
  };

  /** An error ends no call that is under way: its verdict is paid for, and kept. */
  const scoreMissing = async (missing: Missing, verdicts: Map<string, Verdict>, options: ScoreOptions) => {
    if (judge.isConcurrent !== true) {
      for (let start = 0; start < missing.length; start += CHUNK)
        await scoreTogether(missing.slice(start, start + CHUNK), verdicts, options);
      return;
    }
    const settled = await Promise.allSettled(missing.map((each) => scoreTogether([each], verdicts, options)));
    const failed = settled.find(({ status }) => status === 'rejected') as PromiseRejectedResult | undefined;
    if (failed !== undefined) throw options.signal?.aborted ? interrupted(judge) : failed.reason;
  };

  return {
    name: judge.name,
    models: judge.models,
    close: () => judge.close(),
    score: async (exchanges, options = {}) => {
      if (options.signal?.aborted) throw interrupted(judge);
      const keys = exchanges.map(keyOf);
      const verdicts = new Map<string, Verdict>();
      const missing = new Map<string, Exchange>();
      for (const [i, key] of keys.entries()) {
        const found = reads ? find(key) : undefined;
        if (found === undefined) missing.set(key, exchanges[i] as Exchange);
        else verdicts.set(key, found);
      }
      await scoreMissing([...missing], verdicts, options);
      return keys.map((key) => verdicts.get(key) as Verdict);
    },
  };
}
