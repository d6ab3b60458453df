import { z } from 'zod';
import { FloodgateError } from '../base/errors.ts';
import { randomStream } from '../base/random.ts';
import type { AskOptions, DecodeSettings, Target, TargetAnswer, TargetRequest } from './target.ts';
import { createTargetKind, NO_MODEL_FACTS } from './target-kind.ts';

/** A scripted target's answers to attacks that contain a text, case-sensitive. */
export interface ScriptedRule {
  readonly contains: string;
  /** The answers. Each response draws one with equal probability: write one twice to double its share. */
  readonly respond: readonly string[];
}

export interface ScriptedTargetOptions {
  /** The first matching rule answers. */
  readonly rules: readonly ScriptedRule[];
  /** The answers when no rule matches. */
  readonly otherwise: readonly string[];
  /** Seed of every response's random stream. */
  readonly seed: number;
}

/**
 * `answer` cut at `maxTokens` words, the tokens of a scripted target. The end counts as one, like a model's end token.
 */
export function cutAnswer(answer: string, maxTokens: number): TargetAnswer {
  const toAnswer = (text: string, tokens: number, truncated: boolean): TargetAnswer => ({
    kind: 'text',
    text,
    truncated,
    usage: { calls: 1, tokens },
  });
  let tokens = 0;
  let end = 0;
  for (const match of answer.matchAll(/\S+/gu)) {
    if (tokens === maxTokens) return toAnswer(answer.slice(0, end), tokens, true);
    tokens++;
    end = match.index + match[0].length;
  }
  return tokens === maxTokens ? toAnswer(answer, tokens, true) : toAnswer(answer, tokens + 1, false);
}

/**
 * A target that answers by fixed rules, without a model: for tests and dry runs. Response i of a request draws from the
 * random stream `[seed, ...streamName, i]`; temperature 0 takes a rule's first answer. Answers are returned exactly as
 * written, but cut at `maxNewTokens` words.
 * @throws FloodgateError `config` when a rule has no answers.
 */
export function createScriptedTarget(options: ScriptedTargetOptions): Target {
  const name = 'scripted';
  const { rules, otherwise, seed } = options;
  if (otherwise.length === 0 || rules.some(({ respond }) => respond.length === 0)) {
    throw new FloodgateError('config', 'open scripted target: a rule has no answers, expected at least one');
  }
  let isClosed = false;
  const answer = ({ attack, streamName }: TargetRequest, response: number, decode: DecodeSettings): TargetAnswer => {
    const answers = rules.find(({ contains }) => attack.includes(contains))?.respond ?? otherwise;
    const drawn = decode.temperature === 0 ? 0 : randomStream(seed, ...streamName, response).nextInt(answers.length);
    return cutAnswer(answers[drawn] as string, decode.maxNewTokens);
  };
  return {
    name,
    async ask(
      requests: readonly TargetRequest[],
      { responses, decode, signal }: AskOptions,
    ): Promise<TargetAnswer[][]> {
      if (isClosed) throw new FloodgateError('target', `${name}: used after close`);
      if (signal?.aborted) throw new FloodgateError('interrupted', `${name}: interrupted`);
      return requests.map((request) => Array.from({ length: responses }, (_, i) => answer(request, i, decode)));
    },
    async close(): Promise<void> {
      isClosed = true;
    },
  };
}

/** Longest scripted answer in characters. */
const MAX_ANSWER = 100_000;

/** Fixed rules in place of a model. */
export const scriptedKind = createTargetKind({
  name: 'scripted',
  describe: 'answers by fixed rules: for tests and dry runs of a setup',
  isFree: true,
  fields: {
    rules: z
      .array(
        z.strictObject({
          contains: z.string().min(1).max(1000).describe('the rule matches attacks that contain this text'),
          respond: z.array(z.string().max(MAX_ANSWER)).min(1).describe('the answers; one is drawn for each response'),
        }),
      )
      .default([])
      .describe('the first matching rule answers'),
    otherwise: z
      .array(z.string().max(MAX_ANSWER))
      .min(1)
      .default(['I cannot help with that.'])
      .describe('the answers when no rule matches'),
  },
  async plan({ kind, rules, otherwise }, { seed }) {
    const facts = { ...NO_MODEL_FACTS, kind, model: 'scripted' };
    const open = async () => {
      const target = createScriptedTarget({ rules, otherwise, seed });
      return { target, facts, checkpoint: undefined, close: () => target.close() };
    };
    return { facts, open };
  },
});
