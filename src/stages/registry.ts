import { createRegistry } from '../base/registry.ts';
import { bestOfN } from './best-of-n.ts';
import { covering, draws } from './draws.ts';
import { exact } from './exact.ts';
import { gflownet } from './gflownet.ts';
import { icl } from './icl.ts';
import { ppo } from './ppo.ts';
import { reinforce } from './reinforce.ts';
import { replay } from './replay.ts';
import { sft } from './sft.ts';
import {
  coveringSmoothing,
  drawsSmoothing,
  ppoSmoothing,
  reinforceSmoothing,
  smoothing,
  weightedSmoothings,
} from './smoothing.ts';
import { stableGfn } from './stable-gfn.ts';
import { neededStages, type Stage } from './stage.ts';

/**
 * Every stage, in the order of training. A built-in one is one file and one entry of this list. Replay comes first: it
 * is cheap, and a budget that ends later has paid for it.
 */
export const stages = createRegistry<Stage>('stage', [
  replay,
  icl,
  sft,
  draws,
  drawsSmoothing,
  covering,
  coveringSmoothing,
  gflownet,
  smoothing,
  ...weightedSmoothings,
  stableGfn,
  reinforce,
  reinforceSmoothing,
  ppo,
  ppoSmoothing,
  bestOfN,
  exact,
]);

/** Adds a stage, such as an attacker of your own. Call it before a config is read. @throws FloodgateError `usage`. */
export function defineStage(stage: Stage): Stage {
  stages.add(stage);
  return stage;
}

/** The wanted attackers and all that they need, in the order of training. */
export function stagesToTrain(wanted: readonly string[]): Stage[] {
  const all = neededStages(wanted, stages.get);
  return stages.all().filter(({ name }) => all.has(name));
}
