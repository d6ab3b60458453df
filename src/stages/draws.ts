import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { writeFileAtomically } from '../base/atomic-file.ts';
import { monotonicMs } from '../base/clock.ts';
import { positiveCount } from '../base/config-fields.ts';
import { FloodgateError } from '../base/errors.ts';
import type { Attack } from '../learning/attack.ts';
import type { AttackerState } from '../learning/attacker.ts';
import { consultReference, type Rollouts, tryRollouts } from '../learning/loops/rollout.ts';
import { isUnsafe, logRewardAt, type RewardFunction } from '../learning/reward/reward.ts';
import { referenceRule, rewardRule } from '../learning/reward/reward-section.ts';
import { BEFORE_UPDATES, type MetricRecord } from '../runs/store/records.ts';
import type { Evidence } from '../trial/evidence.ts';
import { createLedger } from '../trial/ledger.ts';
import { checkpointFile, loadReference } from './checkpoints.ts';
import { type Config, createSection } from './config/config.ts';
import { meanMetric, plainMetric } from './metric-records.ts';
import { createPolicyDraw } from './policy-draw.ts';
import {
  type ChosenDraws,
  checkCompared,
  drawReference,
  type ReferenceDraws,
  TRIED_AT_ONCE,
} from './reference-draws.ts';
import { openReward, toRow, withMeasuredCap } from './rewarded-training.ts';
import type { AttackDraw, Campaign, Stage } from './stage.ts';

const section = createSection(
  'draws',
  z
    .strictObject({
      attacks: positiveCount
        .max(1_000_000)
        .default(1000)
        .describe('attacks of the SFT attacker that are tried, target.responses times each'),
      candidates: positiveCount
        .max(4096)
        .default(8)
        .describe('covering: drawn for each attack; those that cover most are tried'),
      coverage: z
        .enum(['words', 'meaning'])
        .default('meaning')
        .describe('covering: of what they cover most: runs of words, or meaning by sentence embedding'),
    })
    .prefault({})
    .describe('stages draws and covering: attacks of the SFT attacker, tried without learning in between'),
);

/** The attacks to try, chosen once: a resume reads them. */
async function loadChosen(
  { folder }: Pick<Campaign, 'folder'>,
  stage: string,
  draw: () => Promise<ChosenDraws>,
): Promise<ChosenDraws> {
  const file = checkpointFile(folder, `${stage}-chosen.json`);
  if (existsSync(file)) return JSON.parse(await readFile(file, 'utf8')) as ChosenDraws;
  const chosen = await draw();
  await writeFileAtomically(file, (handle) => handle.writeFile(JSON.stringify(chosen)));
  return chosen;
}

const DRAWN = 'drawn';

/** Records once what drawing cost: it comes before the first update, and no resume repeats it. */
function recordDrawn({ store }: Campaign, stage: string, tokens: number, message: string, startedMs: number): void {
  if (store.events().some((event) => event.stage === stage && event.code === DRAWN)) return;
  store.recordUpdate({
    stage,
    update: BEFORE_UPDATES,
    events: [{ level: 'info', code: DRAWN, message }],
    cost: { targetCalls: 0, judgeCalls: 0, tokens, seconds: (monotonicMs() - startedMs) / 1000 },
  });
}

function metricsOf({ scored, unscored }: Rollouts<Attack, Evidence>): MetricRecord[] {
  return [
    meanMetric('batchUnsafe', scored, ({ score }) => score.meanUnsafe),
    meanMetric('batchAsr', scored, ({ score }) => (isUnsafe(score.meanUnsafe) ? 1 : 0)),
    meanMetric('fluency', scored, ({ fluency }) => fluency),
    plainMetric('unscored', unscored.length, 1),
  ];
}

/**
 * Tries attacks; `start` is the place of the first of them among all.
 * @throws FloodgateError `judge` when none of a whole part is scored. A last part may be a single attack.
 */
async function tryAttacks(
  { attacker, config }: Campaign,
  reference: AttackerState,
  reward: RewardFunction<Evidence>,
  { stage, attacks, start }: { readonly stage: string; readonly attacks: readonly Attack[]; readonly start: number },
): Promise<Rollouts<Attack, Evidence>> {
  const rule = referenceRule(config.reward, config.attacker.minTokens);
  const opinions = await consultReference(attacker, reference, attacks, rule);
  const tried = await tryRollouts(attacks, opinions, reward, (row) => [stage, start + row]);
  if (tried.scored.length > 0 || (start > 0 && attacks.length < TRIED_AT_ONCE)) return tried;
  const { reason = 'no reason was given' } = tried;
  throw new FloodgateError('judge', `${stage}: none of ${attacks.length} attacks could be scored: ${reason}`, {
    hint: 'fix judges.training or the target; the parts before are saved, and every answer is kept',
  });
}

/** Tries the attacks in parts; each is an update of its own, stored whole or not at all. */
async function run(campaign: Campaign, stage: string, draws: ReferenceDraws): Promise<void> {
  const { store, io } = campaign;
  const updates = Math.ceil(draws.attacks / TRIED_AT_ONCE);
  store.beginStage(stage, updates);
  const parameters = await loadReference(campaign);
  const capped = { ...campaign, config: await withMeasuredCap(campaign, parameters) };
  const reference = campaign.attacker.stateOf(parameters);
  const beganMs = monotonicMs();
  const { attacks: chosen, tokens } = await loadChosen(campaign, stage, () =>
    drawReference(campaign, reference, draws),
  );
  const of = `${chosen.length} attacks to try, of ${chosen.length * draws.candidates} drawn`;
  recordDrawn(campaign, stage, tokens, of, beganMs);
  const ledger = createLedger();
  const reward = openReward(capped, ledger);
  const logReward = logRewardAt(rewardRule(capped.config.reward), 0);
  const bar = io.progress.start(stage, chosen.length, 'attacks');
  try {
    for (let update = store.lastUpdate(stage) + 1; update < updates; update++) {
      const start = update * TRIED_AT_ONCE;
      bar.update(start);
      if (io.signal.aborted) throw interrupted(stage, start, chosen.length);
      const startedMs = monotonicMs();
      const attacks = chosen.slice(start, start + TRIED_AT_ONCE);
      const tried = await tryAttacks(capped, reference, reward, { stage, attacks, start });
      const scored = tried.scored.map((attack) => {
        return { ...attack, logReward: logReward(attack.fluency, attack.score.logS) };
      });
      const calls = ledger.take();
      store.recordUpdate({
        stage,
        update,
        attacks: [...scored, ...tried.unscored].map((attack) => toRow(campaign, attack)),
        metrics: metricsOf(tried),
        cost: { ...calls, seconds: (monotonicMs() - startedMs) / 1000 },
      });
    }
    bar.update(chosen.length);
  } finally {
    bar.finish();
  }
  store.endStage(stage, 'done');
}

function interrupted(stage: string, kept: number, of: number): FloodgateError {
  return new FloodgateError('interrupted', `${stage}: interrupted, ${kept} of ${of} attacks are kept`, {
    hint: 'floodgate resume continues the run',
  });
}

/** An evaluation draws new attacks of the SFT attacker: it is that attacker, and what was found is for smoothing. */
async function open(campaign: Campaign): Promise<AttackDraw> {
  const { attacker } = campaign;
  return createPolicyDraw(attacker, attacker.stateOf(await loadReference(campaign)));
}

/** A stage that tries attacks of the SFT attacker. `drawsOf` says which, by the config. */
function drawsStage(own: Pick<Stage, 'name' | 'words'>, drawsOf: (config: Config) => ReferenceDraws): Stage {
  return {
    ...own,
    needs: ['sft'],
    sections: [section],
    knowsTarget: 'asks',
    hasDensity: false,
    check: (config, isWanted) => (isWanted ? checkCompared('draws.candidates', drawsOf(config)) : []),
    plan: (config) => {
      const { attacks, candidates } = drawsOf(config);
      return { attacks: attacks * candidates, tried: attacks, trainedRows: 0, passRows: 0 };
    },
    run: (campaign) => run(campaign, own.name, drawsOf(campaign.config)),
    open,
  };
}

/** Attacks of the SFT attacker as they come; with its smoothing, rejection sampling and fine-tuning on what passed. */
export const draws = drawsStage(
  {
    name: 'draws',
    words: {
      label: 'Plain draws',
      explain: 'The imitation attacker itself, whose attacks were tried without learning from them.',
      learning: 'by imitating examples',
    },
  },
  (config) => ({ ...section.of(config), candidates: 1 }),
);

/** Of many attacks of the SFT attacker, which are free, those that cover most. */
export const covering = drawsStage(
  {
    name: 'covering',
    words: {
      label: 'Covering draws',
      explain: 'The imitation attacker itself; of many of its attacks, the most different ones were tried.',
      learning: 'by imitating examples',
    },
  },
  (config) => section.of(config),
);
