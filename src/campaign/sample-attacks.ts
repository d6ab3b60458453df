import { randomStream } from '../base/random.ts';
import { defaultThreads } from '../runtime/device.ts';
import type { AttackerName } from './attackers/attacker-names.ts';
import { openRunAttacker } from './campaign.ts';
import type { CampaignIo } from './campaign-io.ts';
import { loadAttacker } from './load-attacker.ts';
import { createOpenModels } from './open-models.ts';
import { loadRunConfig, type RunFolder } from './run-folder.ts';

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
  const model = await createOpenModels({ threads, ...io }).openDecoder(config.attacker.model, 'attacker');
  const attacker = await openRunAttacker(config, model, { device: config.attacker.device, threads });
  try {
    const state = attacker.stateOf(await loadAttacker(folder, attacker, plan.stage));
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
    await attacker.close();
  }
}
