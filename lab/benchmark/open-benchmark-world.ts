import { openConfigModels } from '../../src/stages/campaign/run-models.ts';
import type { Config } from '../../src/stages/config/config.ts';
import type { CampaignIo } from '../../src/stages/stage.ts';
import { planTarget } from '../../src/targets/registry.ts';
import { meanUnsafeOf } from '../../src/trial/evidence.ts';
import { createLedger } from '../../src/trial/ledger.ts';
import { createTrial } from '../../src/trial/trial.ts';
import { requireKnownWorld, waysHeldBy } from '../../src/worlds/world-registry.ts';
import type { BenchmarkWorld } from './score-attacker.ts';

/** A world whose target and judge are open. Close it when done. */
export interface OpenBenchmarkWorld extends BenchmarkWorld {
  /** Responses drawn so far. */
  targetCalls(): number;
  close(): Promise<void>;
}

/** Opens the world of a config, building it where it is new. @throws FloodgateError `world` for one that is refused. */
export async function openBenchmarkWorld(config: Config, io: CampaignIo): Promise<OpenBenchmarkWorld> {
  const models = await openConfigModels(config, io);
  const world = requireKnownWorld(models.world, 'benchmark');
  const judge = await models.openJudge(config.judges.training);
  const planned = await planTarget(config.target, models.host);
  const { target, close } = await planned.open(world.seeds);
  const seat = { judge, name: judge.name, masked: false };
  const ledger = createLedger();
  let targetCalls = 0;
  return {
    seeds: world.seeds,
    ways: world.keys.length,
    ask: async (attacks, responses, name) => {
      const { decode } = config.target;
      const trial = createTrial({ target, decode, responses, seats: [seat], ledger, signal: io.signal });
      const tried = await trial.try(attacks.map((attack, i) => ({ attack, streamName: ['benchmark', name, i] })));
      targetCalls += ledger.take().targetCalls;
      return tried.map((evidence, i) => ({
        attack: attacks[i] as string,
        answer: evidence.responses[0]?.text ?? '',
        unsafe: meanUnsafeOf(evidence, seat),
      }));
    },
    heldBy: (attacks) => waysHeldBy(world, attacks, io.signal),
    targetCalls: () => targetCalls,
    close: async () => {
      await close();
      await judge.close();
    },
  };
}
