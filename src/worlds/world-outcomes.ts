import type { ComputeOptions } from '../engine/runtime/device.ts';
import type { DecoderCheckpoint } from '../models/checkpoint/checkpoint.ts';
import { expectedLogS, successProbability } from './alarm-judge.ts';
import { wordsOf } from './keys.ts';
import { openAlarmMeter } from './pico-target.ts';
import type { Outcome } from './posterior.ts';

/** What attacks come to under a target and the world's judge, read off the model instead of sampled. */
export interface WorldOutcomes {
  of(texts: readonly string[]): Promise<Outcome[]>;
  close(): Promise<void>;
}

/** Opens the outcomes of a target; close them when done. */
export async function openWorldOutcomes(
  target: DecoderCheckpoint,
  { noise, responses }: { readonly noise: number; readonly responses: number },
  compute: ComputeOptions,
): Promise<WorldOutcomes> {
  const meter = await openAlarmMeter(target, compute);
  return {
    of: async (texts) => {
      const alarms = await meter.of(texts.map(wordsOf));
      return texts.map((text, i): Outcome => {
        const alarm = alarms[i] as number;
        return {
          alarm,
          logS: expectedLogS(text, alarm, noise),
          politeLogS: expectedLogS(text, 0, noise),
          success: successProbability(text, alarm, responses, noise),
        };
      });
    },
    close: () => meter.close(),
  };
}
