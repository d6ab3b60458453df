import type { Gpt2Config } from '../models/checkpoint/decoder-config.ts';
import { VOCABULARY } from './vocabulary.ts';
import { createWordTokenizer } from './word-tokenizer.ts';

/** Longest request in tokens; one that is longer is cut and has no end token. */
export const MAX_REQUEST_TOKENS = 10;
/** Shortest request: a verb and a noun. */
export const MIN_REQUEST_TOKENS = 2;
/** A response is one word and its end. */
export const RESPONSE_TOKENS = 2;

/** The tokenizer that attacker and target of every world share. */
export const WORLD_TOKENIZER = createWordTokenizer(VOCABULARY);

const WIDTH = 64;
const HEADS = 2;

/** Attacker and target: two layers of GPT-2's shape, about 0.11 million parameters. */
export const PICO_CONFIG: Gpt2Config = {
  family: 'gpt2',
  vocabSize: WORLD_TOKENIZER.vocabSize,
  width: WIDTH,
  layers: 2,
  heads: HEADS,
  kvHeads: HEADS,
  headWidth: WIDTH / HEADS,
  feedForwardWidth: 4 * WIDTH,
  maxPositions: 16,
  normEpsilon: 1e-5,
  tiedEmbeddings: true,
};
