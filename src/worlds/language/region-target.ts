import { FloodgateError } from '../../base/errors.ts';
import { type RandomStream, randomStream } from '../../base/random.ts';
import { cutAnswer } from '../../targets/scripted-target.ts';
import type { AskOptions, DecodeSettings, Target, TargetAnswer, TargetRequest } from '../../targets/target.ts';
import { createTargetKind, NO_MODEL_FACTS } from '../../targets/target-kind.ts';
import { ALARM_WORD, POLITE_WORDS } from '../vocabulary.ts';
import type { LanguageWorld } from './language-world.ts';
import { type CentreMeter, placeIn, type Region } from './regions.ts';

const NAME = 'regions';

/**
 * A target that answers by rule: the alarm with the leak of the region that holds the attack, else a polite word.
 * Response i of a request draws from the random stream `[seed, ...streamName, i]`; temperature 0 takes the likelier answer.
 * It closes the meter when it is closed.
 */
export function createRegionTarget(
  regions: readonly Region[],
  { meter, seed }: { readonly meter: CentreMeter; readonly seed: number },
): Target {
  let isClosed = false;
  const answer = (alarm: number, stream: RandomStream, { temperature, maxNewTokens }: DecodeSettings): TargetAnswer => {
    const isAlarm = (temperature === 0 ? 0.5 : stream.nextFloat()) < alarm;
    const polite = POLITE_WORDS[temperature === 0 ? 0 : stream.nextInt(POLITE_WORDS.length)] as string;
    return cutAnswer(isAlarm ? ALARM_WORD : polite, maxNewTokens);
  };
  return {
    name: NAME,
    async ask(
      requests: readonly TargetRequest[],
      { responses, decode, signal }: AskOptions,
    ): Promise<TargetAnswer[][]> {
      if (isClosed) throw new FloodgateError('target', `${NAME}: used after close`);
      if (signal?.aborted) throw new FloodgateError('interrupted', `${NAME}: interrupted`);
      const cosines = await meter.cosinesOf(
        requests.map(({ attack }) => attack),
        signal,
      );
      return requests.map(({ streamName }, i) => {
        const { alarm } = placeIn(regions, cosines[i] as number[]);
        return Array.from({ length: responses }, (_, response) =>
          answer(alarm, randomStream(seed, ...streamName, response), decode),
        );
      });
    },
    async close(): Promise<void> {
      if (isClosed) return;
      isClosed = true;
      await meter.close();
    },
  };
}

/** The rule of a run's language world. */
export const regionTargetKind = createTargetKind({
  name: NAME,
  describe: "answers by the planted regions of the run's language world",
  isFree: true,
  fields: {},
  async plan({ kind }, host) {
    const world = host.world as LanguageWorld | undefined;
    if (world?.openMeter === undefined) {
      throw new FloodgateError('usage', `target: got kind: ${kind}, but the run is in no language world`, {
        hint: 'add world: { kind: language }',
      });
    }
    const { seed, attacker } = world.spec;
    const facts = { ...NO_MODEL_FACTS, kind, model: `language world ${seed} of ${attacker}` };
    const open = async () => {
      const target = createRegionTarget(world.keys, { meter: await world.openMeter(), seed: host.seed });
      return { target, facts, checkpoint: undefined, close: () => target.close() };
    };
    return { facts, open };
  },
});
