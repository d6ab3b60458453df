import { monotonicMs } from '../base/clock.ts';
import { FloodgateError } from '../base/errors.ts';
import type { TargetAnswer } from '../targets/target.ts';
import {
  type Ability,
  HARMLESS_PROMPT,
  type PlannedTarget,
  type TargetCheck,
  type TargetConfig,
} from '../targets/target-kind.ts';
import { callsAtOnceOf, estimatePromptTokens, moneyOfAnswer, type Prices } from './prices.ts';
import { rehearse, wantsRehearsal } from './target-rehearsal.ts';

/** One harmless prompt put to a target, and what more of them would take. It holds no secrets. */
export interface TargetCheckResult {
  readonly kind: string;
  readonly model: string;
  /** Hosts that are contacted; empty for a target on this machine. */
  readonly hosts: readonly string[];
  readonly warnings: readonly string[];
  readonly prompt: string;
  /** As it was sent, secrets masked; null where there is no request to show. */
  readonly request: string | null;
  readonly answer: TargetAnswer;
  /** From the request to the whole answer. */
  readonly ms: number;
  readonly stopReason: string | null;
  readonly abilities: Readonly<Record<string, Ability>>;
  /** 1,000 calls like this one, as many at once as the config allows; without a price they have no `money`. */
  readonly thousandCalls: ThousandCalls;
}

export interface ThousandCalls {
  readonly seconds: number;
  readonly tokens: number;
  readonly atOnce: number;
  readonly money?: number;
  readonly currency?: string;
}

/** For a kind that shows no request: one answer, timed. */
async function askOnce(planned: PlannedTarget, { decode }: TargetConfig, signal: AbortSignal): Promise<TargetCheck> {
  const { target, close } = await planned.open([]);
  try {
    const began = monotonicMs();
    const asked = [{ attack: HARMLESS_PROMPT, streamName: ['check'] }];
    const [answers] = await target.ask(asked, { responses: 1, decode, signal });
    const ms = monotonicMs() - began;
    return { request: undefined, answer: answers?.[0], ms, stopReason: undefined, abilities: {} };
  } finally {
    await close();
  }
}

/** A warning where the answers to harmless prompts are no assistant's. */
async function rehearsalWarnings(planned: PlannedTarget, config: TargetConfig, signal: AbortSignal): Promise<string[]> {
  if (!wantsRehearsal(config)) return [];
  const { target, close } = await planned.open([]);
  try {
    const found = await rehearse(target, config, signal);
    if (found === undefined) return [];
    return [
      `a run is refused: ${found.finding}\n${found.exchanges}\n  where the target is meant to answer so, set target.checkAnswers: false`,
    ];
  } finally {
    await close();
  }
}

function thousandCallsOf(
  { answer, ms }: { readonly answer: TargetAnswer; readonly ms: number },
  config: TargetConfig,
  prices: Prices | undefined,
): ThousandCalls {
  const atOnce = callsAtOnceOf(config);
  const time = { seconds: ms / atOnce, tokens: 1000 * answer.usage.tokens, atOnce };
  if (prices?.target === undefined) return time;
  const { systemPrompt = '' } = config as { readonly systemPrompt?: string };
  const promptTokens = estimatePromptTokens(HARMLESS_PROMPT) + estimatePromptTokens(systemPrompt);
  return { ...time, money: 1000 * moneyOfAnswer(prices.target, answer, promptTokens), currency: prices.currency };
}

/**
 * Puts one harmless prompt to a target that passed its checks. @throws FloodgateError `target` when no answer comes
 * back; `interrupted` on abort.
 */
export async function checkTarget(
  planned: PlannedTarget,
  config: TargetConfig,
  signal: AbortSignal,
  prices?: Prices,
): Promise<TargetCheckResult> {
  const { facts, hosts = [] } = planned;
  const check = await (planned.check?.(signal) ?? askOnce(planned, config, signal));
  const { answer, ms, stopReason = null, request = null, abilities } = check;
  if (answer === undefined || answer.kind === 'failed')
    throw new FloodgateError('target', `check target: got no answer: ${answer?.reason ?? 'none came'}`);
  return {
    kind: facts.kind,
    model: facts.model,
    hosts,
    warnings: [...facts.warnings, ...(await rehearsalWarnings(planned, config, signal))],
    prompt: HARMLESS_PROMPT,
    request,
    answer,
    ms,
    stopReason,
    abilities,
    thousandCalls: thousandCallsOf({ answer, ms }, config, prices),
  };
}
