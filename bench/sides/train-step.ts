import { randomStream } from '../../src/base/random.ts';
import { openAttackerStep, randomIds, stepWeights } from './attacker-step.ts';
import { meterSessions } from './session-meter.ts';
import { stepShape } from './shapes.ts';
import type { Side, SideOptions } from './side.ts';

/** Counterpart of `peers/train_step.py`. Adds `loss` and the seconds inside the runtime. */
export async function openTrainStep({ threads, isSmall, cacheDir }: SideOptions): Promise<Side> {
  const shape = stepShape(isSmall);
  const weights = await stepWeights(cacheDir, shape);
  const meter = meterSessions();
  const step = await openAttackerStep(shape, weights, { device: 'cpu', threads });
  const end = shape.config.vocabSize - 1;
  return {
    name: 'train-step-floodgate',
    settings: { shape },
    run: async (index) => {
      const stream = randomStream(1000 + index, 'bench', 'train-step');
      const prompt = randomIds(stream, shape.prompt, end);
      const rows = Array.from({ length: shape.batch }, () => randomIds(stream, shape.tokens, end));
      const logRewards = Float32Array.from(rows, () => -50 * stream.nextFloat());
      const loss = await step.update(prompt, rows, logRewards);
      return { loss, sessions: meter.take() };
    },
  };
}
