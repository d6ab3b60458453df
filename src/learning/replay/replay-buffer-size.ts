/** Sizes that bound a buffer in a checkpoint. */
export interface BufferSize {
  readonly capacity: number;
  /** Of one attack. */
  readonly maxTokens: number;
  readonly vocabSize: number;
  /** Longest text of one token, in bytes of JSON. */
  readonly tokenBytes: number;
  /** Values of an embedding; 0 without embeddings. */
  readonly embeddingWidth: number;
}

/** A vocabulary, as a tokenizer has it. */
export interface TokenTexts {
  readonly vocabSize: number;
  decode(ids: readonly number[]): string;
}

/** Keys and punctuation of an entry, and its numbers: nine of at most 24 characters. */
const ENTRY_BYTES = 600;
/** Options and counts of the buffer, and what a loop saves beside it. */
const OTHER_BYTES = 65_536;

/** Length of `text` inside a JSON string, in bytes of UTF-8. */
function jsonBytes(text: string): number {
  return Buffer.byteLength(JSON.stringify(text)) - 2;
}

/** Longest text of one token in bytes of JSON, with the space that a tokenizer may put before it. */
export function longestTokenBytes(tokenizer: TokenTexts): number {
  let longest = 0;
  for (let id = 0; id < tokenizer.vocabSize; id++) longest = Math.max(longest, jsonBytes(tokenizer.decode([id])));
  return longest + 1;
}

/** Most bytes of one entry in a checkpoint: ids, text and embedding in base64, all of the longest. */
function largestEntryBytes({ maxTokens, vocabSize, tokenBytes, embeddingWidth }: Omit<BufferSize, 'capacity'>): number {
  const idBytes = String(vocabSize).length + 1;
  const embeddingBytes = 4 * Math.ceil((4 * embeddingWidth) / 3);
  return ENTRY_BYTES + maxTokens * (idBytes + tokenBytes) + embeddingBytes;
}

/** Most bytes that a full buffer takes in a checkpoint. */
export function largestBufferBytes(size: BufferSize): number {
  return OTHER_BYTES + size.capacity * largestEntryBytes(size);
}

/** Most attacks that `bytes` of a checkpoint hold for certain. */
export function fittingCapacity(size: Omit<BufferSize, 'capacity'>, bytes: number): number {
  return Math.max(0, Math.floor((bytes - OTHER_BYTES) / largestEntryBytes(size)));
}
