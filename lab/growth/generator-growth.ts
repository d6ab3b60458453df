import { randomStream } from '../../src/base/random.ts';
import { type Generator, openGenerator } from '../../src/models/decoder/generator.ts';
import { createOpenModels } from '../../src/models/open-models.ts';
import { cpuSeconds, type Growth, type Measuring } from './measured.ts';

const NEW_TOKENS = 8;
const BATCHES = [1, 4, 16, 64, 256];
const CONTEXTS = [16, 32, 64, 128, 256, 512];
/** Prompt tokens while the batch grows, and rows while the context grows. */
const PROMPT = 32;
const ROWS = 8;

/** Writes NEW_TOKENS in each of `rows` answers to prompts of their own. */
function write(generator: Generator, vocabSize: number, rows: number, prompt: number): Promise<unknown> {
  const stream = randomStream(0, 'growth', 'prompts');
  return generator.generate({
    prompts: Array.from({ length: rows }, () =>
      Array.from({ length: prompt }, () => 100 + stream.nextInt(vocabSize - 100)),
    ),
    requests: Array.from({ length: rows }, (_, row) => ({
      prompt: row,
      stream: randomStream(0, 'row', row),
      temperature: 1,
    })),
    minNewTokens: NEW_TOKENS,
    maxNewTokens: NEW_TOKENS,
    topK: 0,
    topP: 0.95,
  });
}

/** A model that writes eight tokens an answer: more answers at once, and longer prompts. */
export async function generatorGrowth(model: string, threads: number, measuring: Measuring): Promise<Growth[]> {
  const { config, weights } = await createOpenModels({ threads }).openDecoder(model);
  const options = { config, weights, contextTokens: 1024, bans: { always: [], end: [] }, withLogProbs: false };
  const generator = await openGenerator(options, { device: 'cpu', threads });
  const points = async (sizes: readonly number[], run: (size: number) => Promise<unknown>) => {
    const found = [];
    for (const size of sizes) {
      await run(size); // allocates
      found.push({ size, seconds: await cpuSeconds(() => run(size), measuring) });
    }
    return found;
  };
  try {
    measuring.say(`${model}: batches of ${BATCHES.join(', ')}`);
    const batches = await points(BATCHES, (rows) => write(generator, config.vocabSize, rows, PROMPT));
    measuring.say(`${model}: prompts of ${CONTEXTS.join(', ')} tokens`);
    const contexts = await points(CONTEXTS, (prompt) => write(generator, config.vocabSize, ROWS, prompt));
    return [
      {
        work: `${model} writes ${NEW_TOKENS} tokens each`,
        of: `answers at once, ${PROMPT} tokens before`,
        points: batches,
      },
      {
        work: `${model} writes ${NEW_TOKENS} tokens each`,
        of: `tokens before, ${ROWS} answers at once`,
        points: contexts,
      },
    ];
  } finally {
    await generator.close();
  }
}
