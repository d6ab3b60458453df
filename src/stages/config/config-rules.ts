import type { ConfigProblem } from './config-problems.ts';
import type { Config } from './config-schema.ts';

/** Rules between keys, which no single key's type can state. Returns what is broken. */
export function checkConfigRules(config: Config): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const refuse = (path: readonly string[], what: string) =>
    problems.push({ path, isKey: false, message: `${path.join('.')}: ${what}` });

  const { attacker, attackers, gflownet, reinforce, target, world } = config;
  if (attacker.minTokens > attacker.maxTokens)
    refuse(
      ['attacker', 'minTokens'],
      `got ${attacker.minTokens}, expected at most attacker.maxTokens (${attacker.maxTokens})`,
    );
  for (const stage of ['sft', 'gflownet', 'smoothing'] as const) {
    const { warmupUpdates, updates } = config[stage];
    if (warmupUpdates > updates)
      refuse([stage, 'warmupUpdates'], `got ${warmupUpdates}, expected at most ${stage}.updates (${updates})`);
  }
  for (const stage of ['reinforce', 'ppo'] as const) {
    const { warmupUpdates, updates } = config[stage];
    if (updates !== undefined && warmupUpdates > updates)
      refuse([stage, 'warmupUpdates'], `got ${warmupUpdates}, expected at most ${stage}.updates (${updates})`);
  }
  if (reinforce.baseline === 'leave-one-out' && reinforce.batchSize < 2)
    refuse(['reinforce', 'batchSize'], 'got a single attack an update, baseline leave-one-out compares at least 2');
  if (world !== undefined && attackers.includes('icl'))
    refuse(['attackers'], 'got icl, which needs a model that knows language; that of a made world is untrained');
  if (world === undefined && attackers.includes('exact'))
    refuse(['attackers'], 'got exact, which exists in a made world only (world: {})');
  const { low, high } = gflownet.sampling.temperatures;
  if (low > high)
    refuse(['gflownet', 'sampling', 'temperatures', 'low'], `got ${low}, expected at most high (${high})`);
  if (gflownet.objective !== 'tb' && gflownet.logZLearningRate !== undefined)
    refuse(['gflownet', 'logZLearningRate'], `belongs to objective tb, got objective ${gflownet.objective}`);
  if (gflownet.objective !== 'tb' && gflownet.batchSize * gflownet.accumulation < 2)
    refuse(
      ['gflownet', 'batchSize'],
      `got a single attack an update, objective ${gflownet.objective} compares at least 2`,
    );
  if (target.responses > 1 && target.decode.temperature === 0)
    refuse(['target', 'responses'], `got ${target.responses}, expected 1: at temperature 0 every response is the same`);
  return problems;
}
