import { join } from 'node:path';
import { FloodgateError } from '../../base/errors.ts';
import type { ProgressSink } from '../../base/progress.ts';
import type { Judge, JudgeConfig } from '../../judges/judge.ts';
import type { RunNotes } from '../../queue/queue-search.ts';
import { openCallLog } from '../../runs/store/call-log.ts';
import { type OtherCallLogs, openOtherCallLogs } from '../../runs/store/other-call-logs.ts';
import { isFreeTarget } from '../../targets/registry.ts';
import type { Target, TargetStatus } from '../../targets/target.ts';
import type { TargetConfig, TargetFacts } from '../../targets/target-kind.ts';
import { BUDGET_CAPS, type BudgetCaps, createBudget } from '../../trial/budget.ts';
import { BudgetStop } from '../../trial/budget-stop.ts';
import type { CallLog } from '../../trial/call-log.ts';
import { type CallMeter, createCallMeter } from '../../trial/call-meter.ts';
import { withCallNotes } from '../../trial/call-progress.ts';
import { identityOf, keepAnswers } from '../../trial/kept-answers.ts';
import { keepVerdicts } from '../../trial/kept-verdicts.ts';
import { meterJudge, meterTarget } from '../../trial/metered.ts';
import { estimatePromptTokens } from '../../trial/prices.ts';
import { hostsNamed } from '../../wire/wire-fields.ts';
import type { Config } from '../config/config.ts';
import type { Campaign, CampaignIo } from '../stage.ts';

/** The calls of a run: kept when they are paid for, and begun within the budget. */
export interface RunCalls {
  target(target: Target, config: TargetConfig, facts: TargetFacts): Target;
  judge(judge: Judge, config: JudgeConfig): Judge;
  /** Aborted by the caller, and when the budget is spent: whoever works stops as at an interrupt. */
  readonly signal: AbortSignal;
  /** Says also how the calls of a target elsewhere go. */
  readonly progress: ProgressSink;
  /** True: every call is made when it is asked for, and not before: each counts against a cap, or may be another run's. */
  readonly areWatched: boolean;
  /** Short texts beside the calls; nothing is kept without a log. */
  readonly notes: RunNotes;
  /** Why the budget ended the run; undefined where it did not. */
  readonly spent: FloodgateError | undefined;
  /** Says in the run's database how many answers came from the log, if any did. */
  close(): void;
}

function isRemote(judge: Judge, config: JudgeConfig): boolean {
  return judge.isConcurrent === true || hostsNamed(config).length > 0;
}

/** The caps of a run: those of its config, and those that this start overrides. */
function capsOf({ budget }: Pick<Config, 'budget'>, { budget: own }: Pick<CampaignIo, 'budget'>): BudgetCaps {
  return { ...budget, ...own };
}

/** The targets that are asked, and the rest of the work. */
export interface CallsPlan {
  readonly targets: readonly TargetConfig[];
  /** True: workers ask them, so that every answer comes from elsewhere. */
  readonly areOnWorkers?: boolean;
  /** The calls that the work would still make, in words, after so many calls of the target. */
  rest(spentTargetCalls: number): string;
}

const systemPromptOf = (config: TargetConfig): string =>
  (config as { readonly systemPrompt?: string }).systemPrompt ?? '';

interface CallParts {
  readonly campaign: Pick<Campaign, 'config' | 'store'>;
  readonly log: CallLog;
  /** Undefined: answers of other runs are not used. */
  readonly others: OtherCallLogs | undefined;
  readonly meter: CallMeter;
  /** For judges whose verdicts cost no money. */
  readonly freeMeter: CallMeter;
  /** False: every call is made again. */
  readonly reads: boolean;
  readonly stop: BudgetStop;
  readonly progress: ProgressSink;
  /** A target of the work is asked elsewhere. */
  readonly isElsewhere: boolean;
  readonly areWatched: boolean;
}

/** Whether answers are kept when they come: those that cost more than time here, and those that come one by one. */
function isKept(target: Target, config: TargetConfig): boolean {
  return !isFreeTarget(config) || target.isOneByOne === true;
}

/** The target as the run asks it: from the log where that has the answer, within the budget everywhere. */
function watchTarget(target: Target, config: TargetConfig, { sha256 }: TargetFacts, parts: CallParts): Target {
  const { log, campaign, stop } = parts;
  const meter = parts.meter.withPrompt(estimatePromptTokens(systemPromptOf(config)));
  // The draws of a target that is sent seeds change with the run's own.
  const identity = identityOf(config, [sha256, campaign.config.seed]);
  const watched = isKept(target, config)
    ? keepAnswers(target, { ...parts, meter, identity })
    : meterTarget(target, log, meter);
  return { ...watched, ask: (requests, options) => stop.heed(watched.ask(requests, options)) };
}

function createRunCalls(parts: CallParts): RunCalls {
  const { log, meter, reads, stop, campaign } = parts;
  const { config, store } = campaign;
  const judges = new Set<string>();
  let status: Target['status'];
  const progress = withCallNotes(parts.progress, () => ({
    counts: meter.counts,
    spent: log.spent,
    currency: config.prices?.currency,
    status: status?.() ?? { atOnce: 0, underWay: 0, rateLimited: 0 },
  }));
  return {
    target: (target, targetConfig, facts) => {
      if (reads) store.keepsCalls({ target: isKept(target, targetConfig), judges });
      status = target.status === undefined ? status : () => (target.status as () => TargetStatus)();
      return watchTarget(target, targetConfig, facts, parts);
    },
    judge: (judge, judgeConfig) => {
      const isKeptJudge = isRemote(judge, judgeConfig);
      if (isKeptJudge) judges.add(judge.name);
      const identity = identityOf(judgeConfig);
      const kept = { ...parts, identity, meter: judge.isFree === true ? parts.freeMeter : meter };
      const watched = isKeptJudge ? keepVerdicts(judge, kept) : meterJudge(judge, log, meter);
      return { ...watched, score: (exchanges, options) => stop.heed(watched.score(exchanges, options)) };
    },
    signal: stop.signal,
    progress: parts.isElsewhere ? progress : parts.progress,
    areWatched: parts.areWatched,
    notes: { find: (key) => (reads ? log.find(key) : undefined), keep: (key, value) => log.keep(key, value, {}) },
    get spent() {
      return stop.spent;
    },
    close: () => {
      stop.release();
      closeLog(parts);
    },
  };
}

/** Says what came from the logs. A full disk cannot take that either: the error before it gives the reason. */
function closeLog({ log, others, campaign: { store }, meter: { counts } }: CallParts): void {
  const { found, begun } = counts;
  const shared = others?.found ?? 0;
  const message =
    `${found} answers came from the log of this run, ${begun} new ones were asked for; ` +
    `${log.spent.targetCalls} target calls were paid for since the run began` +
    (shared === 0 ? '' : `; ${shared} answers and verdicts of other runs in this folder cost nothing`);
  try {
    if (found + shared > 0) store.recordEvent({ level: 'info', code: 'kept-answers', message });
  } catch (error) {
    if (!(error instanceof FloodgateError)) throw error;
  } finally {
    log.close();
    others?.close();
  }
}

/** Calls that an earlier process began, and whose answers never came, are asked again: they may be paid twice. */
function recordUnanswered(log: CallLog, store: Campaign['store']): void {
  const { targetCalls, judgeCalls } = log.unanswered;
  if (targetCalls + judgeCalls === 0) return;
  const stages = store.stages();
  const stopped = stages.findLast(({ status }) => status !== 'done') ?? stages.at(-1);
  if (stopped === undefined) return;
  store.recordUnanswered(stopped.name, { targetCalls, judgeCalls });
  log.forgetUnanswered();
}

/**
 * Opens the log of the run's paid calls, `calls.db` in its folder, where a target or judge is asked elsewhere or the
 * run has a budget.
 */
export function openRunCalls(
  campaign: Pick<Campaign, 'config' | 'folder' | 'store'>,
  io: CampaignIo,
  { targets, rest, areOnWorkers = false }: CallsPlan,
): RunCalls {
  const { config, folder, store } = campaign;
  const { judges, prices } = config;
  const caps = capsOf(config, io);
  const hasCap = BUDGET_CAPS.some((cap) => caps[cap] !== undefined);
  const isElsewhere = areOnWorkers || targets.some((target) => !isFreeTarget(target));
  // A run on this machine alone, without a budget: nothing is kept, and nothing changes.
  if (!hasCap && !isElsewhere && hostsNamed(judges).length === 0) {
    const { signal, progress } = io;
    const same = <T>(each: T): T => each;
    const notes = { find: () => undefined, keep: () => undefined };
    const free = { areWatched: false, notes, spent: undefined, close: () => undefined };
    return { target: same, judge: same, signal, progress, ...free };
  }
  const others = config.sharedAnswers && io.asksAgain !== true ? openOtherCallLogs(folder.path) : undefined;
  const log = openCallLog(join(folder.path, 'calls.db'), others);
  recordUnanswered(log, store);
  const budget = createBudget(caps, log, () => rest(log.spent.targetCalls));
  const meter = createCallMeter({ budget, prices });
  const stop = new BudgetStop(io.signal, budget);
  const freeMeter = createCallMeter({ budget, prices: undefined });
  const reads = io.asksAgain !== true;
  const { progress } = io;
  const areWatched = hasCap || others !== undefined;
  return createRunCalls({ campaign, log, others, meter, freeMeter, reads, stop, progress, isElsewhere, areWatched });
}

/** Closes the calls after `work`. Where the budget ended it, the error says so. */
export async function withCalls<T>(calls: RunCalls, work: (calls: RunCalls) => Promise<T>): Promise<T> {
  try {
    return await work(calls);
  } catch (error) {
    const isInterrupted = error instanceof FloodgateError && error.code === 'interrupted';
    throw isInterrupted ? (calls.spent ?? error) : error;
  } finally {
    calls.close();
  }
}
