import { FloodgateError } from '../../base/errors.ts';
import { append } from '../../base/long-lists.ts';
import { createSplitAtTokens, type SplitAtTokens } from './tokenizer-added-tokens.ts';
import { cleanUpSpaces, createDecodeTokens } from './tokenizer-decoders.ts';
import { runPatterns } from './tokenizer-growth.ts';
import type { AddedToken, PostProcessorConfig, TokenizerDefinition } from './tokenizer-json.ts';
import { createTokenizerModel, type TokenizerModel } from './tokenizer-model.ts';
import { createNormalize, type Normalize } from './tokenizer-normalizers.ts';
import { createPreTokenize, type PreTokenize } from './tokenizer-pre-tokenizers.ts';

export interface EncodeOptions {
  /** Adds BOS/CLS/SEP where the model's post-processor does (default false). Never doubles a BOS. */
  readonly addSpecial?: boolean;
  /** Reads control tokens written out in the text as such (default true). False for untrusted text. */
  readonly parseSpecial?: boolean;
}

/** Converts text to token ids and back, exactly as the model's own tokenizer does. */
export interface Tokenizer {
  readonly vocabSize: number;
  readonly bosId: number | undefined;
  readonly padId: number | undefined;
  /**
   * Every id that ends a generation (end of text, end of turn), the tokenizer's own EOS first. Never empty for a
   * decoder.
   */
  readonly endIds: readonly number[];
  /** Ids of control tokens (chat markers, padding, ...): never sampled as an attack's text. */
  readonly specialIds: readonly number[];
  /** Returns the ids of `text`. Reads lone surrogates as U+FFFD. @throws `model` on a text above the length limit. */
  encode(text: string, options?: EncodeOptions): number[];
  /** Cuts `text` at the control tokens written in it: their ids, and the texts between them in order. */
  splitSpecial(text: string): (string | number)[];
  /**
   * Returns the ids of a text given in parts. Numbers are kept; strings are encoded with control tokens read as plain
   * text. `encodeParts(splitSpecial(text))` equals `encode(text)`.
   */
  encodeParts(parts: readonly (string | number)[]): number[];
  /** Returns the text of `ids`. `skipSpecial` (default true) omits control tokens. Omits ids outside the vocabulary. */
  decode(ids: readonly number[], options?: { readonly skipSpecial?: boolean }): string;
}

/** Ids added before and after one text. */
export interface SpecialFrame {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

const EMPTY_FRAME: SpecialFrame = { before: [], after: [] };

function templateFrame(config: Extract<PostProcessorConfig, { type: 'TemplateProcessing' }>): SpecialFrame {
  const before: number[] = [];
  const after: number[] = [];
  let side = before;
  for (const item of config.single) {
    if ('Sequence' in item) side = after;
    else append(side, config.special_tokens[item.SpecialToken.id]?.ids ?? []);
  }
  return { before, after };
}

function frameOf(config: PostProcessorConfig): SpecialFrame {
  switch (config.type) {
    case 'ByteLevel':
      return EMPTY_FRAME;
    case 'TemplateProcessing':
      return templateFrame(config);
    case 'BertProcessing':
    case 'RobertaProcessing':
      return { before: [config.cls[1]], after: [config.sep[1]] };
  }
}

/** Returns the ids that all post-processors together add around a single text. */
export function specialFrameOf(configs: readonly PostProcessorConfig[]): SpecialFrame {
  return configs
    .map(frameOf)
    .reduce(
      (inner, outer) => ({ before: [...outer.before, ...inner.before], after: [...inner.after, ...outer.after] }),
      EMPTY_FRAME,
    );
}

/** A text of gigabytes, or one on which a pattern of polynomial cost would run for hours. */
const MAX_TEXT_LENGTH = 2_000_000;
const LONE_SURROGATE = /\p{Surrogate}/gu;

/** Roles of tokens that a model's other files give, beyond tokenizer.json itself. */
export interface TokenRoles {
  readonly bosId: number | undefined;
  readonly padId: number | undefined;
  readonly endIds: readonly number[];
  /** Tokens that are never sampled as text, although the definition does not call them special. */
  readonly extraSpecialIds?: readonly number[];
  /** Whether decoding removes the spaces before punctuation; off unless the model's files ask for it. */
  readonly cleansUpSpaces?: boolean;
}

interface Vocabulary {
  readonly tokens: readonly (string | undefined)[];
  readonly specialIds: ReadonlySet<number>;
}

function vocabularyOf(definition: TokenizerDefinition, model: TokenizerModel, roles: TokenRoles): Vocabulary {
  const tokens: (string | undefined)[] = [];
  for (const [token, id] of model.idOf) tokens[id] = token;
  for (const { id, content } of definition.addedTokens) tokens[id] = content;
  const special = definition.addedTokens.filter((token) => token.special).map((token) => token.id);
  return { tokens, specialIds: new Set([...special, ...(roles.extraSpecialIds ?? [])]) };
}

/** Tokenizer of a checked definition: split at added tokens, normalise, pre-tokenize, model, special tokens. */
class PipelineTokenizer implements Tokenizer {
  readonly bosId: number | undefined;
  readonly padId: number | undefined;
  readonly endIds: readonly number[];
  readonly #vocabulary: Vocabulary;
  readonly #cleansUpSpaces: boolean;
  readonly #model: TokenizerModel;
  readonly #normalize: Normalize;
  readonly #preTokenize: PreTokenize;
  readonly #decodeTokens: (tokens: readonly string[]) => string;
  readonly #frame: SpecialFrame;
  readonly #splitSpecial: SplitAtTokens;
  readonly #splitPlain: SplitAtTokens;
  readonly #splitNormalized: SplitAtTokens;

  constructor(definition: TokenizerDefinition, roles: TokenRoles) {
    this.bosId = roles.bosId;
    this.padId = roles.padId;
    this.endIds = [...new Set(roles.endIds)];
    this.#cleansUpSpaces = roles.cleansUpSpaces ?? false;
    this.#model = createTokenizerModel(definition.model);
    this.#vocabulary = vocabularyOf(definition, this.#model, roles);
    const normalize = createNormalize(definition.normalizers);
    this.#normalize = normalize;
    this.#preTokenize = createPreTokenize(definition.preTokenizers);
    this.#decodeTokens = createDecodeTokens(definition.decoders);
    this.#frame = specialFrameOf(definition.postProcessors);
    const plain = definition.addedTokens.filter((token) => !token.special);
    const isNormalized = (token: AddedToken) => token.normalized;
    this.#splitSpecial = createSplitAtTokens(definition.addedTokens.filter((token) => token.special));
    this.#splitPlain = createSplitAtTokens(plain.filter((token) => !isNormalized(token)));
    const normalized = plain.filter(isNormalized);
    this.#splitNormalized = runPatterns('normalizer', normalized.length, () =>
      createSplitAtTokens(normalized, (token) => normalize(token.content)),
    );
  }

  get vocabSize(): number {
    return this.#vocabulary.tokens.length;
  }

  get specialIds(): readonly number[] {
    return [...this.#vocabulary.specialIds];
  }

  encode(text: string, options: { readonly addSpecial?: boolean; readonly parseSpecial?: boolean } = {}): number[] {
    const ids = this.encodeParts(options.parseSpecial === false ? [text] : this.splitSpecial(text));
    return options.addSpecial === true ? this.#addFrame(ids) : ids;
  }

  splitSpecial(text: string): (string | number)[] {
    return this.#splitSpecial(checkText(text));
  }

  encodeParts(parts: readonly (string | number)[]): number[] {
    const ids: number[] = [];
    let isFirst = true;
    for (const part of parts) {
      for (const section of typeof part === 'number' ? [part] : this.#splitPlain(checkText(part))) {
        if (typeof section === 'number') ids.push(section);
        else this.#encodeSection(section, isFirst, ids);
        isFirst = false;
      }
    }
    return ids;
  }

  decode(ids: readonly number[], options: { readonly skipSpecial?: boolean } = {}): string {
    const skips = options.skipSpecial ?? true;
    const tokens: string[] = [];
    for (const id of ids) {
      const token = this.#vocabulary.tokens[id];
      if (token !== undefined && !(skips && this.#vocabulary.specialIds.has(id))) tokens.push(token);
    }
    const text = tokens.length === 0 ? '' : this.#decodeTokens(tokens);
    return this.#cleansUpSpaces ? cleanUpSpaces(text) : text;
  }

  #encodeSection(section: string, isFirst: boolean, ids: number[]): void {
    for (const part of this.#splitNormalized(this.#normalize(section))) {
      if (typeof part === 'number') {
        ids.push(part);
      } else {
        for (const piece of this.#preTokenize(part, isFirst)) for (const id of this.#encodePiece(piece)) ids.push(id);
      }
    }
  }

  /**
   * Ids of a piece of plain text. Some vocabularies let plain text become a control token, because merges reach its
   * text. Such a piece is split until it does not.
   */
  #encodePiece(piece: string): number[] {
    const ids = this.#model.encodePiece(piece);
    const isControl = (id: number) => id !== this.#model.unknownId && this.#vocabulary.specialIds.has(id);
    if (!ids.some(isControl)) return ids;
    const characters = Array.from(piece);
    if (characters.length === 1) return [];
    const middle = characters.length >> 1;
    const halves = [characters.slice(0, middle), characters.slice(middle)];
    return halves.flatMap((half) => this.#encodePiece(half.join('')));
  }

  #addFrame(ids: readonly number[]): number[] {
    const { before, after } = this.#frame;
    const isDoubled = this.bosId !== undefined && ids[0] === this.bosId && before.at(-1) === this.bosId;
    return [...(isDoubled ? before.slice(0, -1) : before), ...ids, ...after];
  }
}

function checkText(text: string): string {
  if (text.length > MAX_TEXT_LENGTH) {
    throw new FloodgateError(
      'model',
      `tokenizer: the text is too long, got ${text.length} characters, expected at most ${MAX_TEXT_LENGTH}`,
    );
  }
  return text.replace(LONE_SURROGATE, '\ufffd');
}

/** Returns the tokenizer of a checked definition. @throws `format` on a pattern that cannot be read */
export function createTokenizer(definition: TokenizerDefinition, roles: TokenRoles): Tokenizer {
  return new PipelineTokenizer(definition, roles);
}
