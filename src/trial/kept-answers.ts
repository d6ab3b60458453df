import { canonicalJson, sha256Of } from '../base/canonical-json.ts';
import { FloodgateError } from '../base/errors.ts';
import type { AskOptions, EndOfCalls, Target, TargetAnswer, TargetRequest, TargetStatus } from '../targets/target.ts';
import { BegunCalls, type CallLog } from './call-log.ts';
import type { CallMeter, MostTokens } from './call-meter.ts';
import { estimatePromptTokens } from './prices.ts';

export interface KeptAnswers {
  /** Everything that decides how the target answers, without secrets: see `identityOf`. */
  readonly identity: string;
  readonly log: CallLog;
  /** Begins the calls that are not kept, and counts them. */
  readonly meter: CallMeter;
  /** False: every call is made again, and its answer replaces the kept one. */
  readonly reads: boolean;
}

/** Settings that change how calls are made, and not what is answered. */
const OPERATIONAL: ReadonlySet<string> = new Set([
  ...['concurrency', 'timeoutSeconds', 'retries', 'retryAfterSeconds', 'restarts'],
  ...['requestsPerMinute', 'tokensPerMinute', 'decode', 'responses', 'apiKeyEnv', 'apiKeyFile'],
  ...['checkAnswers', 'caFile', 'certFile', 'keyFile', 'insecureTls', 'proxy'],
]);

/** The identity of a target or judge, from its config: equal ones answer alike. It holds names of secrets at most. */
export function identityOf(config: Readonly<Record<string, unknown>>, further: unknown = null): string {
  const settings = Object.entries(config).filter(([key]) => !OPERATIONAL.has(key));
  return sha256Of(canonicalJson([Object.fromEntries(settings), further]));
}

/**
 * The name of one draw. Two draws of one attack are independent evidence, so the name of their random stream is part of
 * it: only the same draw, asked again by a resume or a repeated evaluation, finds its answer.
 */
function keyOf(identity: string, { attack, streamName }: TargetRequest, { decode }: AskOptions, sample: number) {
  return sha256Of(canonicalJson(['answer', identity, attack, decode, streamName, sample]));
}

/** The most that one call of these requests may take. */
function mostOf(requests: readonly TargetRequest[], { decode }: AskOptions): MostTokens {
  const promptTokens = requests.reduce((most, { attack }) => Math.max(most, estimatePromptTokens(attack)), 0);
  return { tokens: decode.maxNewTokens, promptTokens };
}

/** Answers of one `ask`, by request and response; undefined while missing. */
type Answers = (TargetAnswer | undefined)[][];

/** Names of the draws of one `ask`, by request and response. */
type Keys = readonly (readonly string[])[];

function read(log: CallLog, key: string): TargetAnswer | undefined {
  const value = log.find(key);
  return value === undefined ? undefined : (JSON.parse(value) as TargetAnswer);
}

/** Begins calls within the budget; the log notes them as long as they are not answered. */
async function admit(meter: CallMeter, begun: BegunCalls, calls: number, most: MostTokens): Promise<EndOfCalls> {
  const release = await meter.admitTarget(calls, most);
  try {
    const end = begun.begin(calls);
    return (isBrokenOff) => {
      end(isBrokenOff);
      release();
    };
  } catch (error) {
    release();
    throw error;
  }
}

interface Arrived {
  readonly answer: TargetAnswer;
  readonly attack: string;
  readonly key: string;
}

/** Keeps all or none. All count as come before the first is stored: where that fails, every one stays unanswered. */
function keepArrived({ log, meter }: KeptAnswers, arrived: readonly Arrived[], begun: BegunCalls): void {
  const came = arrived.map(() => begun.came());
  log.together(() => {
    for (const [i, { answer, attack, key }] of arrived.entries()) {
      const paid = meter.priceOf(answer, attack);
      if (answer.kind === 'failed') log.fail(key, answer.reason, paid, came[i]);
      else log.keep(key, JSON.stringify(answer), paid, came[i]);
    }
  });
}

/**
 * The target with every answer written to `log` the moment it arrives, and looked up there before it is asked. A failed
 * answer is not kept: it is asked again. An answer from the log keeps its usage, so that the cost of an update is the
 * cost of the evidence behind it; `meter` counts what was newly paid.
 */
export function keepAnswers(target: Target, kept: KeptAnswers): Target {
  const { identity, log, meter, reads } = kept;

  /** A target that shows no single calls is asked whole requests, all of them or none. */
  const askWhole = async (requests: readonly TargetRequest[], options: AskOptions, keys: Keys) => {
    const calls = requests.length * options.responses;
    const begun = new BegunCalls(log, 'targetCalls');
    const end = await admit(meter, begun, calls, mostOf(requests, options));
    let isBrokenOff = true;
    try {
      const answers = await target.ask(requests, options);
      isBrokenOff = false;
      const arrived = requests.flatMap(({ attack }, i) =>
        (answers[i] ?? []).map((answer, sample) => ({ answer, attack, key: keys[i]?.[sample] as string })),
      );
      keepArrived(kept, arrived, begun);
      return answers;
    } finally {
      end(isBrokenOff && options.signal?.aborted);
    }
  };

  const askMissing = async (requests: readonly TargetRequest[], options: AskOptions, answers: Answers, keys: Keys) => {
    const missing = requests.flatMap((request, i) => {
      const samples = (answers[i] as Answers[number]).flatMap((answer, sample) =>
        answer === undefined ? [sample] : [],
      );
      return samples.length === 0 ? [] : [{ i, request, samples }];
    });
    if (missing.length === 0) return;
    if (target.isOneByOne !== true) {
      const asked = await askWhole(
        missing.map(({ request }) => request),
        options,
        missing.map(({ i }) => keys[i] as readonly string[]),
      );
      for (const [k, { i }] of missing.entries()) answers[i] = asked[k] as TargetAnswer[];
      return;
    }
    const most = mostOf(requests, options);
    const begun = missing.map(() => new BegunCalls(log, 'targetCalls'));
    const watch: AskOptions['watch'] = {
      admit: (calls, request) => admit(meter, begun[request] as BegunCalls, calls, most),
      arrived: (come, index) => {
        const { i, request, samples } = missing[index] as (typeof missing)[number];
        const placed = come.map(({ answer, response }) => ({ answer, sample: samples[response] as number }));
        const { attack } = request;
        keepArrived(
          kept,
          placed.map(({ answer, sample }) => ({ answer, attack, key: keys[i]?.[sample] as string })),
          begun[index] as BegunCalls,
        );
        for (const { answer, sample } of placed) (answers[i] as Answers[number])[sample] = answer;
      },
    };
    await target.ask(
      missing.map(({ request, samples }) => ({ ...request, samples })),
      { ...options, watch },
    );
  };

  return {
    name: target.name,
    ...(target.status === undefined ? {} : { status: () => (target.status as () => TargetStatus)() }),
    ask: async (requests, options) => {
      if (options.signal?.aborted) throw new FloodgateError('interrupted', `${target.name}: interrupted`);
      const keys = requests.map((request) =>
        Array.from({ length: options.responses }, (_, sample) => keyOf(identity, request, options, sample)),
      );
      const answers: Answers = keys.map((each) => each.map((key) => (reads ? read(log, key) : undefined)));
      meter.found(answers.flat().filter((answer) => answer !== undefined).length);
      await askMissing(requests, options, answers, keys);
      return answers as TargetAnswer[][];
    },
    close: () => target.close(),
  };
}
