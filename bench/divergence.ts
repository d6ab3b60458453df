/**
 * How far SmolLM2 in int8 is from itself in fp32: KL, top-1 agreement and perplexity on the golden texts and on seeds as
 * chat prompts. Run from the repository's root after `npm run bench` has compiled it: `node bench/.build/bench/divergence.js`.
 */
import { readFile } from 'node:fs/promises';
import { FloodgateError } from '../src/base/errors.ts';
import { openCheckpoint } from '../src/models/checkpoint/checkpoint.ts';
import { measureDivergence } from '../src/models/decoder/divergence.ts';
import { openInt8Checkpoint } from '../src/models/decoder/int8-decoder.ts';
import { resolveModel } from '../src/models/sources/resolve-model.ts';
import { settleSourceOptions } from '../src/models/sources/source-environment.ts';
import { renderChatIds } from '../src/models/tokenizer/prompt-ids.ts';

const CHAT_PROMPTS = 4;

const MODEL = 'smollm2-135m-instruct';
const { path } = await resolveModel(MODEL);
const checkpoint = await openCheckpoint(path, { cacheDir: settleSourceOptions().cacheDir });
if (checkpoint.kind !== 'decoder' || checkpoint.chatTemplate === undefined) {
  throw new FloodgateError('usage', `divergence: ${MODEL} is no chat model`);
}
const { config, weights, tokenizer, chatTemplate } = checkpoint;
const golden = JSON.parse(await readFile('test/golden/models/smollm2-135m-instruct.json', 'utf8')) as {
  texts: { ids: number[] }[];
};
const seeds = (await readFile('examples/seeds.txt', 'utf8')).split('\n').slice(0, CHAT_PROMPTS);
const texts = {
  'golden texts': golden.texts.map(({ ids }) => ids),
  'chat prompts': seeds.map((content) => renderChatIds(chatTemplate, tokenizer, [{ role: 'user', content }])),
};
const base = { config, weights, contextTokens: 1024 };
const compute = { device: 'cpu', threads: 2 } as const;
const int8 = await openInt8Checkpoint(checkpoint, compute);
for (const [name, ids] of Object.entries(texts)) {
  const found = await measureDivergence(base, { ...base, int8 }, ids, compute);
  process.stdout.write(`${JSON.stringify({ texts: name, ...found })}\n`);
}
