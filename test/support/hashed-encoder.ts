import { randomStream } from '../../src/base/random.ts';
import type { SentenceEncoder } from '../../src/models/encoder/text-encoder.ts';

/** A sentence encoder without a model: a unit vector that depends on the text alone. */
export function hashedEncoder(width: number): Pick<SentenceEncoder, 'width' | 'embed'> {
  return {
    width,
    embed: async (texts) => {
      const all = new Float32Array(texts.length * width);
      for (const [row, text] of texts.entries()) {
        const stream = randomStream(0, 'embedding', text);
        const vector = Float32Array.from({ length: width }, () => stream.nextNormal());
        const length = Math.hypot(...vector);
        all.set(
          vector.map((x) => x / length),
          row * width,
        );
      }
      return all;
    },
  };
}
