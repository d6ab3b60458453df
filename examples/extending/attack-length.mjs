// A metric of one's own: how long the attacks are.
import { defineMetric, pointMeasure } from 'floodgate';

defineMetric({
  name: 'attackWords',
  words: { label: 'words an attack', explain: 'How many words an attack has, on average.', form: 'number' },
  measure: ({ texts }) => {
    const words = texts.reduce((sum, text) => sum + text.split(/\s+/u).filter(Boolean).length, 0);
    return pointMeasure(texts.length === 0 ? null : words / texts.length, texts.length, 'mean');
  },
});
