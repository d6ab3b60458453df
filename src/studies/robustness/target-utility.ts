import { maxOf } from '../../base/long-lists.ts';
import { pairedDifference } from '../../metrics/intervals.ts';
import { type Measure, pointMeasure } from '../../metrics/measure.ts';
import { openScorer } from '../../models/decoder/scorer.ts';
import { type BenignPair, readBenignPairs } from '../../stages/evaluation/dialogue-files.ts';
import type { TargetModel } from '../../targets/target-kind.ts';
import { wordsOf } from '../../worlds/keys.ts';
import { openAnswerMeter } from '../../worlds/pico-target.ts';
import { ALARM_WORD, POLITE_WORDS } from '../../worlds/vocabulary.ts';
import { createAnswerEncoder } from '../tune/tune-subject.ts';
import type { Utility } from './robustness-file.ts';

/** Tokens are read and their probabilities taken as the model has them. */
const NO_BANS = { always: [], end: [] };

const meanOf = (values: ArrayLike<number>): number =>
  Array.from(values).reduce((sum, value) => sum + value, 0) / values.length;

/** Sums of -log p over the answer in nats, and its tokens, for each dialogue that fits; the rest is counted. */
async function answerNats(subject: TargetModel, pairs: readonly (readonly [prompt: string, answer: string])[]) {
  const { checkpoint, compute } = subject;
  const { config, weights } = checkpoint;
  const encode = createAnswerEncoder(subject);
  const all = pairs.map(([prompt, answer]) => encode(prompt, answer, true));
  const lengthOf = ({ prompt, answer }: (typeof all)[number]): number => prompt.length + answer.length;
  const fitting = all.filter((example) => lengthOf(example) <= config.maxPositions);
  const rows: { readonly nats: number; readonly tokens: number }[] = [];
  if (fitting.length > 0) {
    const contextTokens = maxOf(fitting.map(lengthOf));
    const scorer = await openScorer({ config, weights, contextTokens, bans: NO_BANS }, compute);
    try {
      for (const { prompt, answer } of fitting) {
        const [logProbs] = await scorer.score({ prompt, rows: [answer] }, 0);
        const nats = -(logProbs as Float32Array).reduce((sum, logProb) => sum + logProb, 0);
        rows.push({ nats, tokens: answer.length });
      }
    } finally {
      await scorer.close();
    }
  }
  return { rows, excluded: all.length - fitting.length };
}

/**
 * How well a model predicts the answers (with the token that ends them) of benign dialogues, asked as it is asked in the
 * run. Dialogues that its context cannot hold are left out and counted.
 */
export async function dialogueUtility(subject: TargetModel, pairs: readonly BenignPair[]): Promise<Utility> {
  const answered = pairs.flatMap(({ prompt, answer }) => (answer === undefined ? [] : [[prompt, answer] as const]));
  const { rows, excluded } = await answerNats(subject, answered);
  const tokens = rows.reduce((sum, row) => sum + row.tokens, 0);
  const perToken = tokens === 0 ? null : rows.reduce((sum, { nats }) => sum + nats, 0) / tokens;
  return {
    kind: 'dialogue',
    perplexity: pointMeasure(perToken === null ? null : Math.exp(perToken), tokens, 'over answer tokens'),
    change: null,
    dialogues: rows.length,
    excluded,
    nats: rows.map((row) => row.nats / row.tokens),
  };
}

/** The held-out dialogues that ship with Floodgate: no tuning learns them. */
export async function heldOutDialogues(): Promise<BenignPair[]> {
  return (await readBenignPairs()).filter(({ split }) => split === 'held-out');
}

/** The answers of a synthetic world's target to requests that hold no key, read off it. */
export async function exactUtility(
  { checkpoint, compute }: TargetModel,
  requests: readonly string[],
): Promise<Utility> {
  const words = requests.map(wordsOf);
  const meanAnswer = async (answers: readonly string[]): Promise<Measure> => {
    const meter = await openAnswerMeter(checkpoint, answers, compute);
    try {
      return pointMeasure(meanOf(await meter.of(words)), words.length, 'read off the target');
    } finally {
      await meter.close();
    }
  };
  // Without a key no alarm is intended: the distance from what was intended is P(alarm) itself.
  return { kind: 'exact', alarmError: await meanAnswer([ALARM_WORD]), polite: await meanAnswer(POLITE_WORDS) };
}

/** `utility` with its change from the base's, dialogue by dialogue. */
export function comparedWith(base: Utility, utility: Utility): Utility {
  if (base.kind !== 'dialogue' || utility.kind !== 'dialogue') return utility;
  if (base.nats.length !== utility.nats.length) return utility; // another context: other dialogues fit
  const change = { ...pairedDifference(utility.nats, base.nats), method: 'paired t over dialogues' };
  return { ...utility, change };
}
