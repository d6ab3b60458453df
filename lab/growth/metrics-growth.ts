import { randomStream } from '../../src/base/random.ts';
import type { AttackSet } from '../../src/metrics/attack-set.ts';
import { createEmbeddingMatrix } from '../../src/metrics/embedding-matrix.ts';
import { attackMetrics, measureAttackSet } from '../../src/metrics/registry.ts';
import { finishSteps } from '../../src/metrics/steps.ts';
import { uniqueAttacksInSteps } from '../../src/metrics/unique-attacks.ts';
import { cpuSeconds, type Growth, type GrowthPoint, type Measuring } from './measured.ts';

/** MiniLM's. */
const WIDTH = 384;
/** Distinct subjects of the attacks; each attack is near one of them. */
const SUBJECTS = 200;
const SPREAD = 0.35;
const OPTIONS = { seed: 0 };

/** Attacks of which every second succeeds, with embeddings in clusters. */
function attackSet(count: number): AttackSet {
  const stream = randomStream(0, 'growth', 'attacks');
  const subjects = Array.from({ length: SUBJECTS }, () =>
    Float32Array.from({ length: WIDTH }, () => stream.nextNormal()),
  );
  const data = new Float32Array(count * WIDTH);
  for (let row = 0; row < count; row++) {
    const subject = subjects[row % SUBJECTS] as Float32Array;
    const vector = subject.map((value) => value + SPREAD * stream.nextNormal());
    const length = Math.hypot(...vector);
    data.set(
      vector.map((value) => value / length),
      row * WIDTH,
    );
  }
  const texts = Array.from({ length: count }, (_, i) => {
    const words = Array.from({ length: 8 }, () => `word${stream.nextInt(2000)}`);
    return `subject ${i % SUBJECTS} ${words.join(' ')}`;
  });
  const outcomes = texts.map((_, i) => {
    const isSuccess = i % 2 === 0;
    return {
      kind: 'scored',
      meanUnsafe: isSuccess ? 0.9 : 0.1,
      isSuccess,
      scoredResponses: 1,
      unscoredResponses: 0,
    } as const;
  });
  return { texts, embeddings: createEmbeddingMatrix(data, count, WIDTH), outcomes };
}

/** Every metric of an evaluation, and all together, at these numbers of attacks. */
export async function metricsGrowth(sizes: readonly number[], measuring: Measuring): Promise<Growth[]> {
  const points = new Map<string, GrowthPoint[]>();
  const note = (work: string, size: number, seconds: number): void => {
    points.set(work, [...(points.get(work) ?? []), { size, seconds }]);
  };
  for (const size of sizes) {
    measuring.say(`metrics of ${size.toLocaleString('en-US')} attacks`);
    const set = attackSet(size);
    for (const metric of attackMetrics.all()) {
      note(metric.name, size, await cpuSeconds(() => metric.measure(set, OPTIONS), measuring));
    }
    const all = Array.from({ length: size }, (_, i) => i);
    note(
      'wordings of all',
      size,
      await cpuSeconds(() => finishSteps(uniqueAttacksInSteps(set.embeddings, all)), measuring),
    );
    note('all metrics', size, await cpuSeconds(() => measureAttackSet(set, OPTIONS), measuring));
  }
  return [...points].map(([work, found]) => ({ work, of: 'attacks of an evaluation', points: found }));
}
