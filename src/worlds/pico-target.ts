import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { ComputeOptions } from '../engine/runtime/device.ts';
import type { DecoderCheckpoint } from '../models/checkpoint/checkpoint.ts';
import type { DecoderConfig } from '../models/checkpoint/decoder-config.ts';
import { openScorer } from '../models/decoder/scorer.ts';
import { openSafetensorsStore } from '../models/formats/weight-store.ts';
import type { ChatTemplate } from '../models/tokenizer/chat-template.ts';
import { expectedLogS, successProbability } from './alarm-judge.ts';
import { wordsOf } from './keys.ts';
import { PICO_CONFIG, WORLD_TOKENIZER } from './pico-model.ts';
import type { Outcome } from './posterior.ts';
import { ALARM_WORD, ANSWER_ID, CONTROL_TOKENS, START_ID } from './vocabulary.ts';

const [START, , ANSWER] = CONTROL_TOKENS;

/** `<start> request <answer>`; a system message precedes the request. */
const ANSWER_TEMPLATE: ChatTemplate = {
  render: (messages) => `${START} ${messages.map(({ content }) => content).join(' ')} ${ANSWER}`,
};

/** The prompt by which a target is asked, as its training sees it: the tokens after the start token. */
export function askedTokens(words: readonly string[]): number[] {
  return [...WORLD_TOKENIZER.encode(words.join(' ')), ANSWER_ID];
}

/** A trained model of a world as a checkpoint that targets and attackers open like any other. */
export async function picoCheckpoint(
  path: string,
  spec: string,
  config: DecoderConfig = PICO_CONFIG,
): Promise<DecoderCheckpoint> {
  const sha256 = createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
  return {
    kind: 'decoder',
    spec,
    sha256,
    config,
    weights: await openSafetensorsStore(path),
    tokenizer: WORLD_TOKENIZER,
    chatTemplate: ANSWER_TEMPLATE,
  };
}

/** Probabilities of answers to requests, read off the model instead of sampled. */
export interface AnswerMeter {
  /** The target's own probability that its answer is one of the meter's words, for each request. */
  of(requests: readonly (readonly string[])[]): Promise<Float64Array>;
  close(): Promise<void>;
}

const ROWS = 512;

/** Opens the meter of a target for answers whose first word is one of `answers`; close it when done. */
export async function openAnswerMeter(
  checkpoint: DecoderCheckpoint,
  answers: readonly string[],
  compute: ComputeOptions,
): Promise<AnswerMeter> {
  const { config, weights, tokenizer } = checkpoint;
  const bans = { always: tokenizer.specialIds.filter((id) => !tokenizer.endIds.includes(id)), end: [] };
  const scorer = await openScorer({ config, weights, contextTokens: config.maxPositions, bans }, compute);
  return {
    of: async (requests) => {
      const values = new Float64Array(requests.length);
      for (const answer of answers) {
        const ids = WORLD_TOKENIZER.encode(answer);
        for (let start = 0; start < requests.length; start += ROWS) {
          const rows = requests.slice(start, start + ROWS).map((words) => [...askedTokens(words), ...ids]);
          const scores = await scorer.score({ prompt: [START_ID], rows }, 0);
          scores.forEach((tokens, i) => {
            values[start + i] = (values[start + i] as number) + Math.exp(tokens.at(-1) as number);
          });
        }
      }
      return values;
    },
    close: () => scorer.close(),
  };
}

/** Opens the meter of P(alarm) of a target; close it when done. */
export function openAlarmMeter(checkpoint: DecoderCheckpoint, compute: ComputeOptions): Promise<AnswerMeter> {
  return openAnswerMeter(checkpoint, [ALARM_WORD], compute);
}

/** Outcomes of attacks under a target and the world's judge, read off the model instead of sampled. */
export interface WorldOutcomes {
  of(texts: readonly string[]): Promise<Outcome[]>;
  close(): Promise<void>;
}

/** How the world's judge scores a target. */
export interface WorldScoring {
  readonly noise: number;
  /** Responses to an attack by which its success is judged. */
  readonly responses: number;
}

/** The outcome of an attack to which a target answers with an alarm at this probability. */
export function outcomeOf(text: string, alarm: number, { noise, responses }: WorldScoring): Outcome {
  return {
    alarm,
    logS: expectedLogS(text, alarm, noise),
    politeLogS: expectedLogS(text, 0, noise),
    success: successProbability(text, alarm, responses, noise),
  };
}

/** Opens the outcomes of a target; close them when done. */
export async function openWorldOutcomes(
  target: DecoderCheckpoint,
  scoring: WorldScoring,
  compute: ComputeOptions,
): Promise<WorldOutcomes> {
  const meter = await openAlarmMeter(target, compute);
  return {
    of: async (texts) => {
      const alarms = await meter.of(texts.map(wordsOf));
      return texts.map((text, i) => outcomeOf(text, alarms[i] as number, scoring));
    },
    close: () => meter.close(),
  };
}
