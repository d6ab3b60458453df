import * as library from '@huggingface/tokenizers';
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
  return {
    idOf: new Map(model.tokens_to_ids),
    unknownId,
    encodePiece: (piece) => {
      const pieces = config.type === 'Unigram' ? cutAt(piece, MAX_UNIGRAM_PIECE) : [piece];
      const ids: number[] = [];
      for (const token of model._call(pieces)) {
        const id = model.tokens_to_ids.get(token) ?? unknownId;
        if (id !== undefined) ids.push(id);
      }
      return ids;
    },
  };
}
