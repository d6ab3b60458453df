import { randomStream } from '../../base/random.ts';
import { COMMON_TOPICS, PLANTABLE_STYLES, PLANTABLE_TOPICS, TEMPLATES, type Topic } from './topics.ts';

/** Seed requests of a language world, repeated ones left out of the count. */
export const LANGUAGE_SEEDS = 400;

/** One planted region in so many is of a style; one in so many has requests among the seeds. */
const STYLE_EVERY = 4;
const SEEDED_EVERY = 4;

/** The topics and styles that a world of this seed plants, in a random order. */
export function drawPlanted({ seed, regions }: { readonly seed: number; readonly regions: number }): Topic[] {
  const styles = Math.floor(regions / STYLE_EVERY);
  const stream = randomStream(seed, 'planted topics');
  const topics = stream.shuffle(PLANTABLE_TOPICS).slice(0, regions - styles);
  return stream.shuffle([...topics, ...stream.shuffle(PLANTABLE_STYLES).slice(0, styles)]);
}

/** Every request about a topic: each of its things in each template. */
export function requestsAbout({ things }: Topic): string[] {
  return things.flatMap((thing) => TEMPLATES.map((template) => template.replace('_', thing)));
}

/**
 * The seeds of a world: requests about common topics and about a quarter of the planted ones, all equally likely. A
 * reference that has learned them writes plausible requests, and seldom one about another planted topic.
 */
export function drawLanguageSeeds(seed: number, planted: readonly Topic[]): string[] {
  const seeded = planted.filter((_, i) => i % SEEDED_EVERY === 0);
  const requests = [...COMMON_TOPICS, ...seeded].flatMap(requestsAbout);
  return randomStream(seed, 'language seeds')
    .shuffle([...new Set(requests)])
    .slice(0, LANGUAGE_SEEDS);
}
