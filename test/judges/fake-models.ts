import type { JudgeModels, LabelScorer, TextClassifier } from '../../src/models/open-models.ts';

/** How often the text holds the word, capped: the score of the fakes. */
function rudeness(text: string): number {
  return Math.min(1, (text.match(/idiot/gi)?.length ?? 0) / 4);
}

/** A classifier with three labels, [clean, rude, threat], that counts one word. */
export function createFakeClassifier(): TextClassifier & { readonly isClosed: () => boolean } {
  let closed = false;
  return {
    labels: ['clean', 'rude', 'threat'],
    async classify(pairs) {
      return pairs.map(({ text, textPair }) => {
        const rude = rudeness(textPair ?? text);
        return Float32Array.of(1 - rude, rude * 0.75, rude * 0.25);
      });
    },
    async close() {
      closed = true;
    },
    isClosed: () => closed,
  };
}

/** A guard whose labels' log-probabilities follow one word; the rest of its mass is on other words. */
export function createFakeScorer(): LabelScorer & { readonly prompts: string[]; readonly isClosed: () => boolean } {
  let closed = false;
  const seen: string[] = [];
  return {
    prompts: seen,
    async scoreLabels(prompts, labels) {
      seen.push(...prompts);
      return prompts.map((prompt) =>
        Float64Array.from(labels, (label) => {
          const rude = 0.05 + 0.9 * rudeness(prompt);
          return Math.log(0.5 * (/un|contro/i.test(label) ? rude : 1 - rude));
        }),
      );
    },
    async close() {
      closed = true;
    },
    isClosed: () => closed,
  };
}

export const fakeModels: JudgeModels = {
  openTextClassifier: async () => createFakeClassifier(),
  openLabelScorer: async () => createFakeScorer(),
};
