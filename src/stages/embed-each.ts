import type { SentenceEncoder } from '../models/encoder/text-encoder.ts';

/** Sentence embeddings one by one, as the replay buffer keeps them. */
export function embedEach(encoder: SentenceEncoder): (texts: readonly string[]) => Promise<Float32Array[]> {
  return async (texts) => {
    const flat = await encoder.embed(texts);
    const width = flat.length / Math.max(1, texts.length);
    return texts.map((_, i) => flat.slice(i * width, (i + 1) * width));
  };
}
