import { readFile } from 'node:fs/promises';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import { type ProgressSink } from '../../base/progress.ts';
import { randomStream } from '../../base/random.ts';
import { type TuningConfig } from '../../stages/config/config-tuning.ts';
import { type DecodeSettings, type Target } from '../../targets/target.ts';
import { type SuccessfulAttack } from './collect-successes.ts';
import { type AnswerFilter, chooseTemplate, createRejectionCounts, type RejectionCounts, type WriteOptions, type WrittenAnswer, writeAnswers } from './write-answers.ts';
import { cosineOfRows, createEmbeddingMatrix } from '../../metrics/embedding-matrix.ts';
import { clusterAttacks } from '../../metrics/unique-attacks.ts';

/** One dialogue to learn, and where it came from. */
export interface TuningExample {
  readonly kind: 'refusal' | 'benign';
  readonly prompt: string;
  readonly answer: string;
  /** The answer ends there; false for one that was cut, whose end is not learned. */
  readonly isWhole: boolean;
  readonly answerSource: WrittenAnswer['source'];
  /** `attack-N` or `benign-N`: examples of one cluster lie in one split. */
  readonly cluster: string;
  readonly split: Split;
  /** Of a refusal: the attack it answers. */
  readonly attack?: SuccessfulAttack;
}

/** What the data is made with. */
export interface TuningDataParts {
  /** The target, with this system prompt instead of its own where one is given; closed after use. */
  openTarget(systemPrompt: string | undefined): Promise<Target>;
  readonly decode: DecodeSettings;
  readonly filter: AnswerFilter;
  readonly embed: (texts: readonly string[]) => Promise<Float32Array>;
  readonly templates: readonly string[];
  readonly benignPrompts: readonly string[];
  readonly seed: number;
  readonly progress: ProgressSink;
  readonly signal?: AbortSignal;
  /** File that holds what has been written so far, so that no call is made again after a stop. */
  readonly partialPath?: string;
}

export interface TuningData {
  readonly examples: readonly TuningExample[];
  /** Attacks for which no refusal passed. */
  readonly unanswered: number;
  readonly rejected: { readonly refusals: RejectionCounts; readonly benign: RejectionCounts };
}

type Settings = Pick<TuningConfig, 'refusals' | 'benign' | 'clusterThreshold' | 'validationShare'>;

/** Requests whose answers are kept together: a stop costs at most so many. */
const CHUNK = 16;
/** Answers drawn for one benign prompt before giving up on finding a new one. */
const MAX_BENIGN_ROUNDS = 8;

/** Answers so far, in the order of their requests; null where none passed. */
interface Written {
  readonly refusals: (WrittenAnswer | null)[];
  readonly benign: (WrittenAnswer | null)[];
  readonly rejected: { readonly refusals: RejectionCounts; readonly benign: RejectionCounts };
}

async function loadWritten(path: string | undefined): Promise<Written> {
  const fresh = {
    refusals: [],
    benign: [],
    rejected: { refusals: createRejectionCounts(), benign: createRejectionCounts() },
  };
  if (path === undefined) return fresh;
  try {
    return JSON.parse(await readFile(path, 'utf8')) as Written;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return fresh;
    throw new FloodgateError('run', `tune: ${path} is damaged`, {
      cause: error,
      hint: `remove ${path} to write the answers again`,
    });
  }
}

async function saveWritten(path: string | undefined, written: Written): Promise<void> {
  if (path !== undefined) await writeFileAtomically(path, (file) => file.writeFile(JSON.stringify(written)));
}

function refuseIfStopped({ signal }: TuningDataParts): void {
  if (!signal?.aborted) return;
  throw new FloodgateError('interrupted', 'tune: interrupted while answers were written, nothing is lost', {
    hint: 'the same command goes on',
  });
}

/** Refusals to `attacks` from `written.refusals.length` on. */
async function writeRefusals(
  attacks: readonly SuccessfulAttack[],
  parts: TuningDataParts,
  { refusals }: Settings,
  written: Written,
): Promise<void> {
  const bar = parts.progress.start('write refusals', attacks.length, 'attacks');
  const isAsked = refusals.source === 'target';
  const target = isAsked ? await parts.openTarget(refusals.systemPrompt) : undefined;
  try {
    while (written.refusals.length < attacks.length) {
      refuseIfStopped(parts);
      const start = written.refusals.length;
      const chunk = attacks.slice(start, start + CHUNK);
      const own =
        target === undefined
          ? []
          : await writeAnswers(
              chunk.map(({ text }, i) => ({ attack: text, streamName: ['tuning refusal', start + i] })),
              optionsOf(parts, target, {
                wanted: 'refusal',
                candidates: refusals.candidates,
                rejected: written.rejected.refusals,
                maxNewTokens: refusals.maxNewTokens,
              }),
            );
      for (const [i, { text }] of chunk.entries()) {
        const mayFill = !isAsked || refusals.fill;
        const order = randomStream(parts.seed, 'tuning template', start + i).shuffle(parts.templates);
        const filled = own[i] ?? (mayFill ? await chooseTemplate(text, order, parts.filter) : undefined);
        written.refusals.push(filled ?? null);
      }
      await saveWritten(parts.partialPath, written);
      bar.update(written.refusals.length);
    }
  } finally {
    bar.finish();
    await target?.close();
  }
}

function optionsOf(
  { decode, filter, signal }: TuningDataParts,
  target: Target,
  own: Pick<WriteOptions, 'wanted' | 'candidates' | 'rejected'> & { readonly maxNewTokens: number },
): WriteOptions {
  const { maxNewTokens, ...rest } = own;
  const sampled = { ...decode, maxNewTokens };
  // At temperature 0 every candidate would be the same one.
  const candidates = decode.temperature === 0 ? 1 : rest.candidates;
  return { ...rest, candidates, target, decode: sampled, filter, ...(signal === undefined ? {} : { signal }) };
}

const countOf = (answers: readonly (WrittenAnswer | null)[]): number =>
  answers.filter((answer) => answer !== null).length;

/** Answers of the target as it is to benign prompts, round after round, until `wanted` are there. */
async function writeBenign(
  parts: TuningDataParts,
  { benign }: Settings,
  written: Written,
  wanted: number,
): Promise<void> {
  const { benignPrompts } = parts;
  if (wanted === 0 || benignPrompts.length === 0) return;
  const most = benignPrompts.length * MAX_BENIGN_ROUNDS;
  const bar = parts.progress.start('write benign answers', wanted, 'answers');
  const target = await parts.openTarget(undefined);
  try {
    while (countOf(written.benign) < wanted && written.benign.length < most) {
      refuseIfStopped(parts);
      const start = written.benign.length;
      const size = Math.min(CHUNK, most - start, wanted - countOf(written.benign));
      const requests = Array.from({ length: size }, (_, i) => ({
        attack: benignPrompts[(start + i) % benignPrompts.length] as string,
        streamName: ['tuning benign', start + i],
      }));
      const answers = await writeAnswers(
        requests,
        optionsOf(parts, target, {
          wanted: 'answer',
          candidates: 1,
          rejected: written.rejected.benign,
          maxNewTokens: benign.maxNewTokens,
        }),
      );
      for (const [i, answer] of answers.entries())
        written.benign.push(isNew(written, benignPrompts.length, start + i, answer));
      await saveWritten(parts.partialPath, written);
      bar.update(countOf(written.benign));
    }
  } finally {
    bar.finish();
    await target.close();
  }
}

/** The answer, unless the same prompt has drawn the same one in an earlier round. */
function isNew(
  written: Written,
  prompts: number,
  index: number,
  answer: WrittenAnswer | undefined,
): WrittenAnswer | null {
  if (answer === undefined) return null;
  for (let earlier = index - prompts; earlier >= 0; earlier -= prompts) {
    if (written.benign[earlier]?.text === answer.text) return null;
  }
  return answer;
}

const placeOf = (prefix: string, { cluster, split }: Placed) => ({ cluster: `${prefix}-${cluster}`, split });

/**
 * The dialogues that a target is tuned on: to each successful attack a refusal, which the target writes itself when it is
 * told to, or a template; beside them benign prompts with the target's own answers, so that it does not learn to refuse
 * everything. Every answer has passed the judges and the refusal detector. Split by whole clusters.
 * @throws FloodgateError `interrupted` on abort, after what was written has been kept.
 */
export async function buildTuningData(
  attacks: readonly SuccessfulAttack[],
  parts: TuningDataParts,
  settings: Settings,
): Promise<TuningData> {
  const { benignPrompts, embed, seed } = parts;
  const split = { embed, threshold: settings.clusterThreshold, validationShare: settings.validationShare, seed };
  const attackPlaces = await splitByCluster(
    attacks.map(({ text }) => text),
    split,
    'attacks',
  );
  const benignPlaces = await splitByCluster(benignPrompts, split, 'benign');
  const written = await loadWritten(parts.partialPath);
  await writeRefusals(attacks, parts, settings, written);
  const refused = countOf(written.refusals);
  const wanted = Math.round((refused * settings.benign.share) / (1 - settings.benign.share));
  await writeBenign(parts, settings, written, wanted);
  const examples: TuningExample[] = [];
  for (const [i, answer] of written.refusals.entries()) {
    const [attack, place] = [attacks[i], attackPlaces[i]];
    if (answer === null || attack === undefined || place === undefined) continue;
    examples.push({ kind: 'refusal', prompt: attack.text, ...exampleOf(answer), ...placeOf('attack', place), attack });
  }
  for (const [i, answer] of written.benign.entries()) {
    const at = i % Math.max(1, benignPrompts.length);
    const [prompt, place] = [benignPrompts[at], benignPlaces[at]];
    if (answer === null || prompt === undefined || place === undefined) continue;
    examples.push({ kind: 'benign', prompt, ...exampleOf(answer), ...placeOf('benign', place) });
  }
  return { examples, unanswered: attacks.length - refused, rejected: written.rejected };
}

const exampleOf = ({ text, isWhole, source }: WrittenAnswer) => ({ answer: text, isWhole, answerSource: source });

export type Split = 'training' | 'validation';

/** Where a text belongs: texts of one cluster lie in one split, so that validation shows what was not seen alike. */
export interface Placed {
  readonly cluster: number;
  readonly split: Split;
}

export interface SplitOptions {
  readonly embed: (texts: readonly string[]) => Promise<Float32Array>;
  readonly threshold: number;
  readonly validationShare: number;
  readonly seed: number;
}

/** Clusters by greedy cosine, numbered in the order of their first text. */
async function clustersOf(texts: readonly string[], { embed, threshold }: SplitOptions): Promise<number[]> {
  const embeddings = await embed(texts);
  const matrix = createEmbeddingMatrix(embeddings, texts.length, embeddings.length / texts.length);
  const clusterOf = new Array<number>(texts.length).fill(0);
  const all = texts.map((_, i) => i);
  const clusters = clusterAttacks((i, j) => cosineOfRows(matrix, i, j), all, threshold);
  for (const [cluster, { members }] of clusters.entries()) for (const member of members) clusterOf[member] = cluster;
  return clusterOf;
}

/**
 * Splits texts by whole clusters: clusters go to validation, in an order drawn from the seed, as long as the share is not
 * passed. A cluster that is larger than what is left is passed over; with one cluster everything is training.
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
