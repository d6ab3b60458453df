import { randomStream } from '../../src/base/random.ts';
import { openGenerator } from '../../src/models/decoder/generator.ts';
import { meterSessions } from './session-meter.ts';
import { type Side, type SideOptions, timed } from './side.ts';
import { generationSize, openSmollm2 } from './smollm2.ts';
import { variantOptions } from './variants.ts';

const TEMPERATURE = 0.7;
const TOP_P = 0.95;
/** As the peers: ids below are control tokens. */
const FIRST_PROMPT_ID = 100;

/**
 * Counterpart of `peers/generate.py`. Adds `newTokens`, `tokensPerSecond`, `modelSeconds` (prefill and decode inside the
 * runtime) and `samplingSeconds`: all the rest, that is the distribution, the draws and the moving of cache rows.
 */
export async function openGenerate(options: SideOptions): Promise<Side> {
  const { config, weights } = await openSmollm2(options);
  const compute = { device: 'cpu', threads: options.threads } as const;
  const variant = await variantOptions(options.variant, { config, weights }, compute);
  const { batch, prompt: promptTokens, newTokens } = generationSize(options);
  const meter = meterSessions();
  const generator = await openGenerator(
    {
      config,
      weights,
      contextTokens: promptTokens + newTokens,
      bans: { always: [], end: [] }, // no early end, as in the peers
      withLogProbs: false,
      ...variant,
    },
    compute,
  );
  return {
    name: `generate-floodgate-${options.variant}-${batch}`,
    settings: { batch, promptTokens, newTokens, temperature: TEMPERATURE, topP: TOP_P, variant: options.variant },
    run: async (index) => {
      const ids = randomStream(index, 'bench', 'prompts');
      const prompts = Array.from({ length: batch }, () =>
        Array.from({ length: promptTokens }, () => FIRST_PROMPT_ID + ids.nextInt(config.vocabSize - FIRST_PROMPT_ID)),
      );
      const requests = prompts.map((_, prompt) => ({
        prompt,
        stream: randomStream(index, 'bench', 'row', prompt),
        temperature: TEMPERATURE,
      }));
      meter.take();
      const { seconds, value } = await timed(() =>
        generator.generate({
          prompts,
          requests,
          minNewTokens: newTokens,
          maxNewTokens: newTokens,
          topK: 0,
          topP: TOP_P,
        }),
      );
      const sessions = meter.take();
      const written = value.reduce((sum, { tokens }) => sum + tokens.length, 0);
      if (written !== batch * newTokens) throw new Error(`wrote ${written} tokens, expected ${batch * newTokens}`);
      const modelSeconds = (sessions.prefill ?? 0) + (sessions.decode ?? 0);
      return {
        newTokens: written,
        tokensPerSecond: written / seconds,
        modelSeconds,
        samplingSeconds: seconds - modelSeconds,
        sessions,
      };
    },
  };
}
