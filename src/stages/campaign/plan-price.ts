import { monotonicMs } from '../../base/clock.ts';
import { HARMLESS_PROMPT, type PlannedTarget } from '../../targets/target-kind.ts';
import { callsAtOnceOf, estimatePromptTokens, moneyOf } from '../../trial/prices.ts';
import { hostsNamed } from '../../wire/wire-fields.ts';
import type { Config } from '../config/config.ts';

/** The part of a stage's plan that waits for others and is paid. */
export interface PlannedCost {
  readonly targetCalls: number;
  readonly judgeCalls: number;
  readonly seconds: number;
}

/** Upper bounds, as those of calls and tokens are. */
export interface PlannedMoney {
  readonly currency: string;
  readonly target: number;
  readonly judges: number;
}

/** One harmless answer of a target elsewhere, timed; null for a target on this machine. */
export async function measureLatency(
  planned: PlannedTarget,
  config: Config,
  signal: AbortSignal,
): Promise<number | null> {
  if (planned.hosts === undefined) return null;
  const { target, close } = await planned.open([]);
  try {
    const began = monotonicMs();
    const asked = [{ attack: HARMLESS_PROMPT, streamName: ['latency'] }];
    await target.ask(asked, { responses: 1, decode: config.target.decode, signal });
    return monotonicMs() - began;
  } finally {
    await close();
  }
}

/** The stage with the time in which it waits for answers, as many at once as the config allows. */
export function withWaiting<Plan extends PlannedCost>(stage: Plan, { target }: Config, latencyMs: number): Plan {
  return { ...stage, seconds: stage.seconds + (stage.targetCalls * latencyMs) / callsAtOnceOf(target) / 1000 };
}

/** Tokens of one prompt at most, as far as its length tells: the attack and what is sent around it. */
function promptTokensOf({ attacker, target }: Config): number {
  const { systemPrompt = '' } = target as { readonly systemPrompt?: string };
  return attacker.maxTokens + estimatePromptTokens(systemPrompt);
}

/**
 * The most that the planned calls cost by the price table; null without one. Where one judge is asked elsewhere, every
 * verdict counts: the plan does not tell the judges apart.
 */
export function plannedMoney(config: Config, planned: readonly PlannedCost[]): PlannedMoney | null {
  const { prices, target, judges, attacker } = config;
  if (prices === undefined) return null;
  const promptTokens = promptTokensOf(config);
  const calls = planned.reduce((sum, { targetCalls }) => sum + targetCalls, 0);
  const ofTarget = { calls, promptTokens: calls * promptTokens, tokens: calls * target.decode.maxNewTokens };
  const isElsewhere = [judges.training, ...judges.evaluation].some((judge) => hostsNamed(judge).length > 0);
  const verdicts = isElsewhere ? planned.reduce((sum, { judgeCalls }) => sum + judgeCalls, 0) : 0;
  const exchange = attacker.maxTokens + target.decode.maxNewTokens;
  const ofJudges = { calls: verdicts, promptTokens: verdicts * exchange, tokens: 0 };
  return {
    currency: prices.currency,
    target: moneyOf(prices.target, ofTarget),
    judges: moneyOf(prices.judges, ofJudges),
  };
}
