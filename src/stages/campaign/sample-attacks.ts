import { randomStream } from '../../base/random.ts';
import { defaultThreads } from '../../engine/runtime/device.ts';
import { createOpenModels } from '../../models/open-models.ts';
import { loadRunConfig, type RunFolder } from '../../runs/run-folder.ts';
import type { AttackerName } from '../config/attacker-names.ts';
import { openStageAttacker } from '../load-attacker.ts';
import type { CampaignIo } from './campaign-io.ts';
import { openRunDecoder } from './open-run-models.ts';
import { openRunAttacker } from './run-attacker.ts';
import { openRunWorld } from './run-world.ts';
import { createStageAttackers } from './stage-attackers.ts';

export interface SamplePlan {
  readonly stage: AttackerName;
  readonly count: number;
  readonly temperature: number;
  readonly seed: number | undefined;
}

export interface WrittenAttack {
  readonly text: string;
  /** log pi at temperature 1, nats. */
  readonly logPi: number;
  readonly tokens: number;
}

const ROWS = 64;

/** Attacks written by the trained attacker of a run's stage; nothing is sent to any target. */
export async function sampleAttacks(folder: RunFolder, plan: SamplePlan, io: CampaignIo): Promise<WrittenAttack[]> {
  const config = await loadRunConfig(folder);
  const threads = config.threads ?? defaultThreads();
  const models = createOpenModels({ threads, ...io });
  const model = await openRunDecoder(models, config.attacker.model, 'attacker', await openRunWorld(config, io));
  const compute = { device: config.attacker.device, threads };
  const base = await openRunAttacker(config, model, compute);
  const attackers = createStageAttackers({ folder, config, model, compute }, base);
  try {
    const { attackerOf } = attackers;
    const { attacker, state } = await openStageAttacker({ folder, attackerOf }, plan.stage);
    const seed = plan.seed ?? config.seed;
    const requests = Array.from({ length: plan.count }, (_, i) => ({
      stream: randomStream(seed, 'sample', i),
      temperature: plan.temperature,
    }));
    const written: WrittenAttack[] = [];
    for (let start = 0; start < plan.count; start += ROWS) {
      const attacks = await attacker.sample(state, requests.slice(start, start + ROWS), io.signal);
      written.push(...attacks.map(({ text, logPi, tokens }) => ({ text, logPi, tokens: tokens.length })));
    }
    return written;
  } finally {
    await attackers.close();
    await base.close();
  }
}
