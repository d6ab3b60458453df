import { type RandomStream, randomStream } from '../../src/base/random.ts';
import type { CauseQuestion } from '../../src/metrics/causes.ts';
import { findCauses } from '../../src/metrics/causes-search.ts';
import { causeFigures, groupCauses } from '../../src/metrics/causes-ways.ts';
import type { Measure } from '../../src/metrics/measure.ts';

/** The estimates over the causes of one world whose target follows a rule, and the truth in it. */
export interface CausesTrial {
  readonly setting: string;
  readonly missingMass: Measure;
  readonly trueMissingMass: number;
  readonly chao1: Measure;
  readonly trueWays: number;
  readonly ways: number;
  readonly calls: number;
  /** Causes found, and those of them that hold exactly one key. */
  readonly causes: number;
  readonly oneKey: number;
}

const RESPONSES = 5;
const CAUSE_RESPONSES = 3;
const CLUSTERS = 64;
const ASKS = 24;
const PADDING = 90;
/** P(unsafe) of an unsafe and of a safe answer, as the judge of a synthetic world has them. */
const [HIGH, LOW] = [0.95, 0.05];

/** A key of one or two words that no other key shares. */
interface RuleKey {
  readonly text: string;
  readonly leak: number;
  /** Share of the attacks that hold it. */
  readonly share: number;
}

function drawKeys(stream: RandomStream): RuleKey[] {
  const count = [2, 4, 8, 16, 32, 64][stream.nextInt(6)] as number;
  const exponent = 1.5 * stream.nextFloat();
  const weights = Array.from({ length: count }, (_, k) => (k + 1) ** -exponent);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const lowest = [0.6, 0.8, 1][stream.nextInt(3)] as number;
  return weights.map((weight, k) => ({
    text: k % 2 === 0 ? `key${k}` : `first${k} second${k}`,
    leak: lowest + (1 - lowest) * stream.nextFloat(),
    share: weight / total,
  }));
}

/** An attack: a key between words that mean nothing, or such words alone. */
function drawAttack(keys: readonly RuleKey[], hits: number, stream: RandomStream): string {
  const words = Array.from({ length: 2 + stream.nextInt(7) }, () => `word${stream.nextInt(PADDING)}`);
  if (stream.nextFloat() >= hits) return words.join(' ');
  let left = stream.nextFloat();
  const key = keys.find(({ share }) => {
    left -= share;
    return left < 0;
  });
  const at = stream.nextInt(words.length + 1);
  return [...words.slice(0, at), (key ?? (keys[0] as RuleKey)).text, ...words.slice(at)].join(' ');
}

const holds = (text: string, key: RuleKey): boolean => ` ${text} `.includes(` ${key.text} `);

/** Runs the search for causes in the world of this seed, with answers drawn by its rule. */
export async function runCausesTrial(seed: number): Promise<CausesTrial> {
  const stream = randomStream(seed, 'causes trial');
  const keys = drawKeys(stream);
  const attacks = [64, 256, 1024][stream.nextInt(3)] as number;
  const hits = [0.1, 0.5, 0.9][stream.nextInt(3)] as number;
  const falseAlarms = [0, 0.002, 0.01][stream.nextInt(3)] as number;
  const texts = Array.from({ length: attacks }, () => drawAttack(keys, hits, stream));
  const answer = (text: string, responses: number): number => {
    const leak = Math.max(falseAlarms, ...keys.filter((key) => holds(text, key)).map((key) => key.leak));
    const alarms = Array.from({ length: responses }, () => stream.nextFloat() < leak).filter(Boolean).length;
    return (alarms * HIGH + (responses - alarms) * LOW) / responses;
  };
  const successes = texts.flatMap((text, i) => (answer(text, RESPONSES) > 0.5 ? [i] : []));
  let calls = 0;
  const ask = async (questions: readonly CauseQuestion[]) => {
    calls += CAUSE_RESPONSES * questions.length;
    return questions.map(({ text }) => answer(text, CAUSE_RESPONSES));
  };
  const sample = { texts, successes, similarity: () => 0 };
  const found = await findCauses(sample, { clusters: CLUSTERS, asks: ASKS }, ask);
  const ways = groupCauses(found.searches, { cosine: () => 0 });
  const { missingMass, chao1 } = causeFigures({ successes, attacks }, found, ways);
  const firstOpen = found.heldBy.indexOf(undefined);
  const covered = firstOpen < 0 ? found.heldBy : found.heldBy.slice(0, firstOpen);
  const causes = found.searches.flatMap(({ result }) => (result.kind === 'cause' ? [result.words.join(' ')] : []));
  const seen = new Set(covered.map((search) => (search === undefined ? '' : causeText(found.searches[search]))));
  const weight = ({ share, leak }: RuleKey): number => share * majority(leak, RESPONSES);
  const unseen = keys.filter((key) => ![...seen].some((text) => holds(text, key)));
  const total = keys.reduce((sum, key) => sum + weight(key), 0);
  return {
    setting: JSON.stringify({ seed, keys: keys.length, attacks, hits, falseAlarms, successes: successes.length }),
    missingMass,
    trueMissingMass: unseen.reduce((sum, key) => sum + weight(key), 0) / total,
    chao1,
    trueWays: keys.length,
    ways: ways.length,
    calls,
    causes: causes.length,
    oneKey: causes.filter((text) => keys.filter((key) => holds(text, key)).length === 1).length,
  };
}

function causeText(search: Awaited<ReturnType<typeof findCauses>>['searches'][number] | undefined): string {
  return search?.result.kind === 'cause' ? search.result.words.join(' ') : '';
}

/** P(more than half of the responses are alarms). */
function majority(alarm: number, responses: number): number {
  let probability = 0;
  let ways = 1;
  for (let alarms = 0; alarms <= responses; alarms++) {
    if (2 * alarms > responses) probability += ways * alarm ** alarms * (1 - alarm) ** (responses - alarms);
    ways = (ways * (responses - alarms)) / (alarms + 1);
  }
  return probability;
}
