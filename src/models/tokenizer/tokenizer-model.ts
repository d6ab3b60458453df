import * as library from '@huggingface/tokenizers';
import { FloodgateError } from '../../base/errors.ts';
import { encodeScored, type ScoredBpeConfig } from './sentencepiece-bpe.ts';
import type { ModelConfig } from './tokenizer-json.ts';

/**
 * A model of the library, reduced to the parts used here. It returns the unknown token for text outside the vocabulary.
 */
export interface LibraryModel {
  readonly tokens_to_ids: ReadonlyMap<string, number>;
  readonly unk_token_id: number | undefined;
  _call(pieces: readonly string[]): string[];
}

type LibraryModelClass = new (config: object, eosToken?: string) => LibraryModel;

interface TokenizersLibrary {
  readonly BPE: LibraryModelClass;
  readonly WordPiece: LibraryModelClass;
  readonly Unigram: LibraryModelClass;
  readonly SplitPreTokenizer: new (config: object) => { readonly pattern: RegExp | null };
}

// The package's type declarations import each other without file endings, which Node's module rules do not resolve.
// The compiler therefore knows only the entry file's own names. These are the parts we use, declared by hand.
export const { BPE, WordPiece, Unigram, SplitPreTokenizer } = library as unknown as TokenizersLibrary;

/** A vocabulary and the rule that splits a piece of text into its tokens. */
export interface TokenizerModel {
  readonly idOf: ReadonlyMap<string, number>;
  readonly unknownId: number | undefined;
  /** Ids of one pre-tokenized, nonempty piece. Characters that no token covers become `unknownId`, or nothing. */
  encodePiece(piece: string): number[];
}

/**
 * Longest piece for Unigram, in UTF-16 units. Unigram passes a piece's tokens as call arguments, and the engine accepts
 * some 100,000. A longer piece is split there, which can move one token border.
 */
const MAX_UNIGRAM_PIECE = 20_000;
/**
 * Most tokens that begin with each other in a chain (`a`, `aa`, `aaa` ...). Unigram keeps a node for each of them at
 * every place of a text, some 2.5 us each; honest vocabularies nest up to about 64 deep (runs of one sign).
 */
const MAX_NESTING = 128;
/** Nodes of one lattice. Bounds its memory; reached below `MAX_UNIGRAM_PIECE` only by deeply nested vocabularies. */
const MAX_LATTICE_NODES = 400_000;

/** Most tokens of a vocabulary that begin with each other in a chain. */
function nestingDepth(tokens: readonly string[]): number {
  const open: string[] = [];
  let deepest = 0;
  for (const token of [...new Set(tokens)].sort()) {
    while (open.length > 0 && !token.startsWith(open.at(-1) as string)) open.pop();
    open.push(token);
    deepest = Math.max(deepest, open.length);
  }
  return deepest;
}

/** Longest piece that one lattice takes. @throws FloodgateError `format` for a vocabulary that nests too deep. */
function longestUnigramPiece({ vocab }: Extract<ModelConfig, { type: 'Unigram' }>): number {
  const depth = nestingDepth(vocab.map(([token]) => token));
  if (depth > MAX_NESTING) {
    throw new FloodgateError(
      'format',
      `tokenizer.json: model.vocab nests ${depth} tokens, each the beginning of the next, expected at most ${MAX_NESTING}`,
      { hint: 'fetch the model again; no known tokenizer has such a vocabulary' },
    );
  }
  return Math.max(1, Math.min(MAX_UNIGRAM_PIECE, Math.floor(MAX_LATTICE_NODES / Math.max(1, depth))));
}

function createLibraryModel(config: Exclude<ModelConfig, ScoredBpeConfig>): LibraryModel {
  switch (config.type) {
    case 'BPE':
      return new BPE({
        type: 'BPE',
        vocab: config.vocab,
        merges: config.merges,
        ...(typeof config.unk_token === 'string' ? { unk_token: config.unk_token } : {}),
        fuse_unk: config.fuse_unk,
        byte_fallback: config.byte_fallback,
        ignore_merges: config.ignore_merges,
      });
    case 'WordPiece':
      return new WordPiece(config);
    case 'Unigram':
      return new Unigram({ type: 'Unigram', vocab: config.vocab, unk_id: config.unk_id }, '');
  }
}

/** Splits `text` into parts of at most `limit` UTF-16 units, never within a surrogate pair. */
function cutAt(text: string, limit: number): string[] {
  const parts: string[] = [];
  for (let start = 0; start < text.length; ) {
    let end = Math.min(text.length, start + limit);
    if (end < text.length && /[\udc00-\udfff]/.test(text.charAt(end))) end--;
    parts.push(text.slice(start, end));
    start = end;
  }
  return parts;
}

/** Returns the model of a checked definition. */
export function createTokenizerModel(config: ModelConfig): TokenizerModel {
  if (config.type === 'ScoredBPE') {
    return { idOf: config.vocab, unknownId: config.unknownId, encodePiece: (piece) => encodeScored(piece, config) };
  }
  const model = createLibraryModel(config);
  const unknownId = model.unk_token_id;
  const longest = config.type === 'Unigram' ? longestUnigramPiece(config) : undefined;
  return {
    idOf: new Map(model.tokens_to_ids),
    unknownId,
    encodePiece: (piece) => {
      const pieces = longest === undefined ? [piece] : cutAt(piece, longest);
      const ids: number[] = [];
      for (const token of model._call(pieces)) {
        const id = model.tokens_to_ids.get(token) ?? unknownId;
        if (id !== undefined) ids.push(id);
      }
      return ids;
    },
  };
}
