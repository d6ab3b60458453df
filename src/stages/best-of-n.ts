import { z } from 'zod';
import { positiveCount } from '../base/config-fields.ts';
import { randomStream } from '../base/random.ts';
import type { SampledAttack } from '../learning/attack.ts';
import { type AttackerState, cellInTurn } from '../learning/attacker.ts';
import { writtenTokens } from '../learning/loops/rollout.ts';
import type { JudgeScore } from '../learning/reward/reward.ts';
import { createLedger } from '../trial/ledger.ts';
import { loadReference } from './checkpoints.ts';
import { type Config, createSection } from './config/config.ts';
import { openReward } from './rewarded-training.ts';
import type { AttackDraw, Campaign, DrawnBatch, DrawPlan, PlanContext, Stage } from './stage.ts';
import { trainingTargetCalls } from './used-calls.ts';

const section = createSection(
  'bestOfN',
  z
    .strictObject({
      targetCalls: positiveCount
        .optional()
        .describe('budget of all its attacks together; as many as GFlowNet and smoothing used when absent'),
    })
    .prefault({})
    .describe('attacker best-of-n: each of its attacks is the best of n drawn from the reference'),
);

/** The stage whose calls, with those of the stage that it smooths, are the budget. */
const BUDGET_OF = 'smoothing';

/** Reference attacks tried at once. */
const ROWS = 512;

/** The n for which `attacks` attacks, each the best of n, use up the budget. At least 1. */
export function bestOfNCount(budget: number, attacks: number, responses: number): number {
  return Math.max(1, Math.floor(budget / (attacks * responses)));
}

interface Candidate {
  readonly attack: SampledAttack;
  readonly score: JudgeScore | undefined;
}

/** The best of `n` attacks of the reference for each of `count` slots. */
async function drawBest(
  campaign: Campaign,
  { state, n }: { readonly state: AttackerState; readonly n: number },
  { first, count }: { readonly first: number; readonly count: number },
  { seed, temperature }: DrawPlan,
): Promise<DrawnBatch> {
  const { attacker } = campaign;
  const ledger = createLedger();
  const reward = openReward(campaign, ledger);
  const best = new Array<Candidate | undefined>(count);
  const draws = Array.from({ length: count * n }, (_, draw) => ({ slot: Math.floor(draw / n), trial: draw % n }));
  for (let start = 0; start < draws.length; start += ROWS) {
    const chunk = draws.slice(start, start + ROWS);
    const requests = chunk.map(({ slot, trial }) => ({
      stream: randomStream(seed, 'best of n', first + slot, trial),
      temperature,
      ...cellInTurn(attacker.cells, first + slot),
    }));
    const attacks = await attacker.sample(state, requests);
    const results = await reward(
      chunk.map(({ slot, trial }, i) => ({
        text: attacks[i]?.text ?? '',
        streamName: ['best of n response', first + slot, trial],
      })),
    );
    ledger.add({ tokens: writtenTokens(attacks) });
    for (const [i, { slot }] of chunk.entries()) {
      const candidate = { attack: attacks[i] as SampledAttack, score: results[i]?.score };
      const before = best[slot];
      const isBetter = (candidate.score?.logS ?? -Infinity) > (before?.score?.logS ?? -Infinity);
      if (before === undefined || isBetter) best[slot] = candidate;
    }
  }
  const attacks = best.map((candidate) => {
    const { logPi: _notOfTheBest, ...attack } = (candidate as Candidate).attack;
    return attack;
  });
  return { attacks, cost: ledger.calls };
}

async function open(campaign: Campaign): Promise<AttackDraw> {
  const { attacker, config } = campaign;
  const budget = section.of(config).targetCalls ?? trainingTargetCalls(campaign, BUDGET_OF);
  const n = bestOfNCount(budget, config.evaluation.attacks, config.target.responses);
  const state = attacker.stateOf(await loadReference(campaign));
  return {
    draw: (first, count, plan) => drawBest(campaign, { state, n }, { first, count }, plan),
    close: async () => undefined,
  };
}

/** Attacks that the evaluation tries while it draws. */
function plannedDraws(config: Config, { workOf, isTrained }: PlanContext): number {
  const { evaluation, target } = config;
  const triedBy = (name: string): number => (isTrained(name) ? (workOf(name)?.tried ?? 0) : 0);
  const budget = section.of(config).targetCalls ?? (triedBy(BUDGET_OF) + triedBy('gflownet')) * target.responses;
  return evaluation.attacks * bestOfNCount(budget, evaluation.attacks, target.responses);
}

/**
 * Each attack is the best of n that the reference wrote, by the training judge's mean log P(unsafe). n follows from the
 * budget of target calls. The chosen attacks are then measured on new responses, like those of every attacker.
 */
export const bestOfN: Stage = {
  name: 'best-of-n',
  needs: ['sft'],
  sections: [section],
  words: {
    label: 'Best of many',
    explain: 'Many imitations are tried; those that worked best are kept.',
    learning: 'by imitating examples; of many tries the best were kept',
  },
  knowsTarget: 'learns',
  hasDensity: false,
  planDraw: plannedDraws,
  open,
};
