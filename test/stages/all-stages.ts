import { stages } from '../../src/stages/registry.ts';

/** Override for every attacker but those that need a synthetic world or an earlier run. */
export const ALL_STAGES = `attackers=[${stages
  .names()
  .filter((name) => !['exact', 'replay'].includes(name))
  .join(', ')}]`;

/** As little of each stage as shows a resume in its middle. */
export const SMALL_STAGES: readonly string[] = [
  'sft.updates=4',
  'gflownet.updates=8',
  'gflownet.warmupUpdates=1',
  'gflownet.checkpointEveryUpdates=3',
  'gflownet.replay.seedWithReference=64',
  'reinforce={updates: 4, batchSize: 16, warmupUpdates: 1}',
  'ppo={updates: 4, batchSize: 16, minibatchSize: 8, warmupUpdates: 1}',
  'smoothing={updates: 4, batchSize: 8, learningRate: 1.0e-2, warmupUpdates: 1, rescore: true}',
  'draws={attacks: 96, candidates: 2}',
  'collect.minUnsafe=0.1',
  'watch={everyUpdates: 4, attacks: 8}',
  'evaluation={attacks: 24, responses: 2, controls: 8}',
  'icl.examples=2',
  'bestOfN.targetCalls=96',
];
