import { append } from '../base/long-lists.ts';
import type { NoveltyMeter, Similarity } from '../learning/reward/novelty-reward.ts';
import { HistoryBleu } from '../metrics/history-bleu.ts';
import type { SentenceEncoder } from '../models/encoder/text-encoder.ts';

/** The history in a checkpoint. Its texts are in the database: they are too many for a checkpoint. */
export interface NoveltyState {
  /** Texts measured, duplicates included. */
  readonly count: number;
  /** Sum of their embeddings. */
  readonly sum: readonly number[];
}

export interface NoveltyOptions {
  readonly encoder: Pick<SentenceEncoder, 'width' | 'embed'>;
  /** Texts measured together before they join the history. Texts of one group are not compared with each other. */
  readonly groupSize: number;
  /** A checkpoint's state, with every text that was measured before it, in order. */
  readonly restored?: { readonly state: NoveltyState; readonly texts: Iterable<string> };
}

/**
 * Novelty against everything written before in the run, as the curiosity work measures it (Hong et al. 2024): mean
 * BLEU-2..5 and mean cosine to the history. The mean cosine needs the sum of the history's embeddings only. BLEU forgets
 * the oldest texts of a long run (`HistoryBleu`).
 */
export function createNoveltyMeter({ encoder, groupSize, restored }: NoveltyOptions): NoveltyMeter {
  const bleu = new HistoryBleu();
  for (const text of restored?.texts ?? []) bleu.add(text);
  const sum = Float64Array.from(restored?.state.sum ?? new Float64Array(encoder.width));
  let count = restored?.state.count ?? 0;

  const measureGroup = async (group: readonly string[]): Promise<Similarity[]> => {
    const embeddings = await encoder.embed(group);
    const at = (text: number, i: number): number => embeddings[text * encoder.width + i] as number;
    const similarities = group.map((text, row): Similarity => {
      let dot = 0;
      for (let i = 0; i < encoder.width; i++) dot += at(row, i) * (sum[i] as number);
      return { selfBleu: bleu.score(text), cosine: count === 0 ? 0 : dot / count };
    });
    for (const [row, text] of group.entries()) {
      for (let i = 0; i < encoder.width; i++) sum[i] = (sum[i] as number) + at(row, i);
      bleu.add(text);
    }
    count += group.length;
    return similarities;
  };

  return {
    measure: async (all) => {
      const similarities: Similarity[] = [];
      for (let start = 0; start < all.length; start += groupSize)
        append(similarities, await measureGroup(all.slice(start, start + groupSize)));
      return similarities;
    },
    state: (): NoveltyState => ({ count, sum: [...sum] }),
  };
}
