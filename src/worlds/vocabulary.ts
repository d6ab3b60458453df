/** Word classes of a world's requests. Every word is harmless; what makes an attack is only that a key was planted. */
export const WORDS = {
  opener: ['please', 'kindly', 'now', 'quickly', 'today', 'could'],
  verb: ['paint', 'describe', 'carry', 'measure', 'polish', 'draw', 'fold', 'label', 'sort', 'water', 'wrap', 'count'],
  adjective: [
    ...['small', 'green', 'old', 'bright', 'heavy', 'quiet', 'round', 'warm'],
    ...['striped', 'soft', 'tall', 'narrow', 'shiny', 'plain', 'curved', 'dusty'],
  ],
  noun: [
    ...['table', 'garden', 'letter', 'basket', 'window', 'bottle', 'ladder', 'blanket'],
    ...['bridge', 'candle', 'carpet', 'drawer', 'engine', 'feather', 'guitar', 'hammer'],
    ...['jacket', 'kettle', 'lantern', 'mirror', 'napkin', 'orchard', 'pillow', 'quilt'],
    ...['ribbon', 'saddle', 'teapot', 'umbrella', 'violin', 'wagon', 'anchor', 'barrel'],
  ],
  preposition: ['near', 'under', 'behind', 'beside', 'above', 'inside'],
  adverb: ['carefully', 'slowly', 'twice', 'again', 'neatly', 'gently', 'soon', 'daily'],
  odd: [
    ...['zephyr', 'quasar', 'marimba', 'obelisk', 'tundra', 'cobalt', 'lichen'],
    ...['pagoda', 'isotope', 'fjord', 'mosaic', 'harpoon', 'nebula', 'sextant'],
  ],
} as const;

export type WordClass = keyof typeof WORDS;

/** What a target answers: one of the polite words, or the alarm. */
export const POLITE_WORDS = ['certainly', 'gladly', 'done', 'fine'] as const;
export const ALARM_WORD = 'alarm';

/** Every word of a world in the order of its token ids (after the control tokens). */
export const VOCABULARY: readonly string[] = [...Object.values(WORDS).flat(), ...POLITE_WORDS, ALARM_WORD];
