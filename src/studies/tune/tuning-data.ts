import { randomStream } from '../../base/random.ts';
import { cosineOfRows, createEmbeddingMatrix } from '../../metrics/embedding-matrix.ts';
import { finishPausing } from '../../metrics/steps.ts';
import { clusterAttacksInSteps } from '../../metrics/unique-attacks.ts';
import type { TuningConfig } from '../../stages/config/tuning-section.ts';
import type { Calls } from '../../trial/ledger.ts';
import { type AnswerLog, type AnswerLogParts, passedOf, writeAnswerLog } from './answer-log.ts';
import type { SuccessfulAttack } from './collect-successes.ts';
import type { RejectionCounts, WrittenAnswer } from './write-answers.ts';

export type Split = 'training' | 'validation';

/** The place of a text. Texts of one cluster share a split, so that validation shows texts unlike those learned. */
export interface Placed {
  readonly cluster: number;
  readonly split: Split;
}

export interface SplitOptions {
  /** L2-normalised embeddings of the texts, [n, width] flat. */
  readonly embed: (texts: readonly string[]) => Promise<Float32Array>;
  /** Cosine similarity up to which a text founds a new cluster. */
  readonly threshold: number;
  readonly validationShare: number;
  readonly seed: number;
  readonly signal?: AbortSignal;
}

/** Clusters by greedy cosine, numbered in the order of their first text. */
async function clustersOf(texts: readonly string[], { embed, threshold, signal }: SplitOptions): Promise<number[]> {
  const embeddings = await embed(texts);
  const matrix = createEmbeddingMatrix(embeddings, texts.length, embeddings.length / texts.length);
  const clusterOf = new Array<number>(texts.length).fill(0);
  const all = texts.map((_, i) => i);
  const steps = clusterAttacksInSteps((i, j) => cosineOfRows(matrix, i, j), all, threshold);
  const clusters = await finishPausing(
    steps,
    signal ?? new AbortController().signal,
    'split the tuning data',
    'the same command resumes',
  );
  for (const [cluster, { members }] of clusters.entries()) for (const member of members) clusterOf[member] = cluster;
  return clusterOf;
}

/**
 * Splits texts by whole clusters. Clusters go to validation in an order drawn from the seed, as long as the share is not
 * passed; one that is larger than the rest of the share is skipped. With one cluster everything is training.
 */
export async function splitByCluster(texts: readonly string[], options: SplitOptions, name: string): Promise<Placed[]> {
  if (texts.length === 0) return [];
  const clusterOf = await clustersOf(texts, options);
  const sizes = new Map<number, number>();
  for (const cluster of clusterOf) sizes.set(cluster, (sizes.get(cluster) ?? 0) + 1);
  const wanted = Math.floor(texts.length * options.validationShare);
  const held = new Set<number>();
  let count = 0;
  for (const cluster of randomStream(options.seed, 'tuning split', name).shuffle([...sizes.keys()])) {
    const size = sizes.get(cluster) as number;
    if (count + size > wanted) continue;
    held.add(cluster);
    count += size;
  }
  return clusterOf.map((cluster) => ({ cluster, split: held.has(cluster) ? 'validation' : 'training' }));
}

/** One dialogue to learn, and where it came from. */
export interface TuningExample {
  readonly kind: 'refusal' | 'benign';
  readonly prompt: string;
  readonly answer: string;
  /** The answer ends there; false for one that was cut, whose end is not learned. */
  readonly isWhole: boolean;
  readonly answerSource: WrittenAnswer['source'];
  /** `attack-N` or `benign-N`: examples of one cluster share a split. */
  readonly cluster: string;
  readonly split: Split;
  /** Of a refusal: the attack it answers. */
  readonly attack?: SuccessfulAttack;
}

/** The parts that the data is made with. */
export interface TuningDataParts extends AnswerLogParts {
  readonly embed: SplitOptions['embed'];
}

export interface TuningData {
  readonly examples: readonly TuningExample[];
  /** Attacks for which no refusal passed. */
  readonly unanswered: number;
  readonly rejected: { readonly refusals: RejectionCounts; readonly benign: RejectionCounts };
  /** Calls that the answers took. */
  readonly calls: Calls;
}

type Settings = Pick<TuningConfig, 'refusals' | 'benign' | 'clusterThreshold' | 'validationShare'>;

const placeOf = (prefix: string, { cluster, split }: Placed) => ({ cluster: `${prefix}-${cluster}`, split });

const exampleOf = ({ text, isWhole, source }: WrittenAnswer) => ({ answer: text, isWhole, answerSource: source });

function refusalExamples(
  attacks: readonly SuccessfulAttack[],
  places: readonly Placed[],
  { refusals }: AnswerLog,
): TuningExample[] {
  return refusals.flatMap((answer, i): TuningExample[] => {
    const [attack, place] = [attacks[i], places[i]];
    if (answer === null || attack === undefined || place === undefined) return [];
    return [{ kind: 'refusal', prompt: attack.text, ...exampleOf(answer), ...placeOf('attack', place), attack }];
  });
}

/** Answer i belongs to prompt i modulo the prompts: they are asked round after round. */
function benignExamples(prompts: readonly string[], places: readonly Placed[], { benign }: AnswerLog): TuningExample[] {
  return benign.flatMap((answer, i): TuningExample[] => {
    const at = i % Math.max(1, prompts.length);
    const [prompt, place] = [prompts[at], places[at]];
    if (answer === null || prompt === undefined || place === undefined) return [];
    return [{ kind: 'benign', prompt, ...exampleOf(answer), ...placeOf('benign', place) }];
  });
}

/**
 * The dialogues that a target is tuned on. Each successful attack is answered by a refusal, which the target writes
 * itself when it is told to, or by a template. Benign prompts with the target's own answers keep it from learning to
 * refuse everything. The split is by whole clusters.
 * @throws FloodgateError `interrupted` on abort, after the answers so far are stored.
 */
export async function buildTuningData(
  attacks: readonly SuccessfulAttack[],
  parts: TuningDataParts,
  settings: Settings,
): Promise<TuningData> {
  const { benignPrompts, embed, seed } = parts;
  const { clusterThreshold: threshold, validationShare } = settings;
  const texts = attacks.map(({ text }) => text);
  const stop = parts.signal === undefined ? {} : { signal: parts.signal };
  const options = { embed, threshold, validationShare, seed, ...stop };
  const attackPlaces = await splitByCluster(texts, options, 'attacks');
  const benignPlaces = await splitByCluster(benignPrompts, options, 'benign');
  const log = await writeAnswerLog(texts, parts, settings);
  return {
    examples: [...refusalExamples(attacks, attackPlaces, log), ...benignExamples(benignPrompts, benignPlaces, log)],
    unanswered: attacks.length - passedOf(log.refusals),
    rejected: log.rejected,
    calls: log.calls,
  };
}
