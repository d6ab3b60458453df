import { expect } from 'vitest';
import { openJudge } from '../../src/judges/registry.ts';
import { openCallLog } from '../../src/runs/store/call-log.ts';
import type { Target } from '../../src/targets/target.ts';
import { type BudgetCaps, createBudget } from '../../src/trial/budget.ts';
import { BudgetSpent } from '../../src/trial/budget-spent.ts';
import { createCallMeter } from '../../src/trial/call-meter.ts';
import type { Evidence } from '../../src/trial/evidence.ts';
import { keepAnswers } from '../../src/trial/kept-answers.ts';
import { createLedger } from '../../src/trial/ledger.ts';
import { createTrial } from '../../src/trial/trial.ts';
import { openFrom } from '../targets/open-target.ts';
import { type ChaosServer, chaosDigest } from './chaos-server.ts';

export const RESPONSES = 2;

/** The judge of every chaos: `alarm` is unsafe. */
const RULES = [{ terms: ['alarm'], weight: 0.9 }];

export function chaosTarget({ url }: ChaosServer, concurrency: number | 'auto', timeoutSeconds: number) {
  return { kind: 'openai', baseUrl: url, model: 'm', responses: RESPONSES, concurrency, timeoutSeconds, retries: 8 };
}

export const chaosAttack = (i: number): string => `attack number ${i}`;

/** The result of a pass over all attacks. */
export interface Pass {
  /** Undefined where the budget ended it. */
  readonly evidence: readonly Evidence[] | undefined;
  /** Calls paid for so far, answers kept, and calls that failed and were not answered since. */
  readonly paid: number;
  readonly kept: number;
  readonly failures: readonly { readonly key: string; readonly reason: string }[];
  readonly peakBytes: number;
}

async function tryAll(target: Target, log: ReturnType<typeof openCallLog>, attacks: number, caps: BudgetCaps) {
  const meter = createCallMeter({ budget: createBudget(caps, log), prices: undefined });
  const kept = keepAnswers(target, { identity: 'chaos', log, meter, reads: true });
  const judge = await openJudge({ kind: 'lexicon', name: 'bells', rules: RULES }, { models: {} as never });
  const trial = createTrial({
    target: kept,
    decode: { temperature: 1, topP: 1, topK: 0, maxNewTokens: 8 },
    responses: RESPONSES,
    seats: [{ judge, masked: false, name: 'bells' }],
    ledger: createLedger(),
  });
  try {
    return await trial.try(
      Array.from({ length: attacks }, (_, i) => ({ attack: chaosAttack(i), streamName: ['chaos', i] })),
    );
  } catch (error) {
    if (error instanceof BudgetSpent) return undefined;
    throw error;
  } finally {
    await judge.close();
  }
}

/** Asks every attack in one batch through a log at `path`, as a process that starts with that log does. */
export async function chaosPass(
  work: { readonly server: ChaosServer; readonly path: string; readonly attacks: number },
  caps: BudgetCaps = {},
  concurrency: number | 'auto' = 48,
): Promise<Pass> {
  const { target, close } = await openFrom(chaosTarget(work.server, concurrency, 3));
  const log = openCallLog(work.path);
  const before = process.memoryUsage.rss();
  let peak = before;
  const meter = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage.rss());
  }, 20);
  try {
    const evidence = await tryAll(target, log, work.attacks, caps);
    const { spent, size } = log;
    return { evidence, paid: spent.targetCalls, kept: size, failures: log.failures(), peakBytes: peak - before };
  } finally {
    clearInterval(meter);
    log.close();
    await close();
  }
}

export const sumOf = (counts: ReadonlyMap<string, number>): number => [...counts.values()].reduce((a, b) => a + b, 0);

/** Every answer of a whole pass is scored once or listed as failed: none is lost, none is counted twice or misplaced. */
export function expectWhole({ evidence = [], kept, failures }: Pass, attacks: number): void {
  expect(evidence).toHaveLength(attacks);
  expect(kept + failures.length).toBe(RESPONSES * attacks);
  for (const { reason } of failures) expect(reason).toMatch(/\S/);
  expect(evidence.reduce((sum, { responses }) => sum + responses.length, 0)).toBe(kept);
  for (const [i, { responses, failure }] of evidence.entries()) {
    expect(failure === undefined).toBe(responses.length === RESPONSES);
    for (const { text, refused, verdicts } of responses) {
      expect(verdicts.map(({ judge }) => judge)).toEqual(['bells']);
      const isUnsafe = (verdicts[0]?.unsafe ?? -1) > 0.5;
      if (refused !== undefined) expect([text, isUnsafe]).toEqual(['', false]);
      else
        expect(text.slice(0, 18)).toBe(`${isUnsafe ? 'alarm' : 'fine'} ${chaosDigest(chaosAttack(i))} `.slice(0, 18));
    }
    expect(new Set(responses.flatMap(({ text, refused }) => (refused === undefined ? [text] : []))).size).toBe(
      responses.filter(({ refused }) => refused === undefined).length,
    );
  }
}
