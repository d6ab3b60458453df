import * as library from '@huggingface/tokenizers';

/** A model of the library, as far as we use it. Tokens outside the vocabulary come back as the unknown token. */
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

// The package's type declarations import each other without file endings, which Node's module rules do not resolve:
// every name but the entry file's own is unknown to the compiler. These are the parts we use, stated by hand.
export const { BPE, WordPiece, Unigram, SplitPreTokenizer } = library as unknown as TokenizersLibrary;
