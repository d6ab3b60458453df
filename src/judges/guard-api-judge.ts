import { z } from 'zod';
import { FloodgateError } from '../base/errors.ts';
import { excerpt } from '../wire/wire-failure.ts';
import {
  defusedText,
  GUARD_FORMATS,
  type GuardFormat,
  type GuardFormatName,
  type GuardQuestion,
} from './guard-formats.ts';
import { type GuardLabel, labelWeight } from './guard-judge.ts';
import { defineJudgeKind, type Exchange, toVerdict, unscored, type Verdict } from './judge.ts';
import { type GuardReply, parseLogProbs, scoreLabel } from './label-scores.ts';
import { type Ask, callFields, createPost, createWireJudge, parseReply, serverFields } from './wire-judge.ts';

const FORMAT_NAMES = Object.keys(GUARD_FORMATS) as [GuardFormatName, ...GuardFormatName[]];

const fields = {
  ...serverFields,
  format: z.enum(FORMAT_NAMES).describe('prompt, labels and categories of the model'),
  api: z
    .enum(['completions', 'chat'])
    .default('completions')
    .describe("completions: our prompt; chat: the model's own template, where the server offers nothing else"),
  topLogProbs: z
    .number()
    .int()
    .min(0)
    .max(100)
    .default(20)
    .describe('likely tokens that the server names at each place; 0 = the label alone, P(unsafe) 0.98 or 0.02'),
  controversialWeight: z
    .number()
    .min(0)
    .max(1)
    .default(0.5)
    .describe('share of Controversial that counts (qwen3guard)'),
  ...callFields,
};

type GuardConfig = z.output<z.ZodObject<typeof fields>>;

const replySchema = z.looseObject({
  choices: z
    .array(
      z.looseObject({
        text: z.string().nullish(),
        message: z.looseObject({ content: z.string().nullish() }).nullish(),
        logprobs: z.unknown().optional(),
      }),
    )
    .min(1),
});

/** The body of one question. */
function bodyOf(
  { model, api, topLogProbs }: GuardConfig,
  question: GuardQuestion,
  exchange: Exchange,
  maxTokens: number,
) {
  const common = { model, temperature: 0, max_tokens: maxTokens };
  if (api === 'completions') {
    return { ...common, prompt: question.prompt, ...(topLogProbs === 0 ? {} : { logprobs: topLogProbs }) };
  }
  const messages = [
    { role: 'user', content: defusedText(exchange.attack) },
    { role: 'assistant', content: defusedText(exchange.response) },
  ];
  return { ...common, messages, ...(topLogProbs === 0 ? {} : { logprobs: true, top_logprobs: topLogProbs }) };
}

function replyOf({ choices }: z.output<typeof replySchema>): GuardReply {
  const [choice] = choices;
  return {
    written: choice?.text ?? choice?.message?.content ?? '',
    positions: parseLogProbs(choice?.logprobs),
  };
}

/** The answer to one question. */
interface Answer {
  readonly unsafe: number;
  readonly categories: readonly string[];
  readonly isByText: boolean;
}

/** The worst answer counts; its categories are named from P(unsafe) 1/2. */
function worst(answers: readonly Answer[], name: string): Verdict {
  const top = answers.reduce((most, each) => (each.unsafe > most.unsafe ? each : most));
  const verdict = toVerdict(top.unsafe, name);
  const categories = answers.flatMap((each) => (each.unsafe >= 0.5 ? each.categories : []));
  const note = [...new Set(categories), ...(answers.some(({ isByText }) => isByText) ? ['no log-probs'] : [])];
  return verdict.kind === 'scored' && note.length > 0 ? { ...verdict, note: note.join(', ') } : verdict;
}

function createAsker(config: GuardConfig, format: GuardFormat, name: string) {
  const { api, controversialWeight } = config;
  const post = createPost(config, api === 'chat' ? 'chat/completions' : 'completions');
  const weight = ({ meaning }: GuardLabel): number => labelWeight(meaning, controversialWeight);
  return async (question: GuardQuestion, exchange: Exchange, ask: Ask): Promise<Answer | Verdict> => {
    const isStated = api === 'completions' && question.prompt.endsWith(format.marker ?? '');
    const labelled = { labels: format.labels, marker: isStated ? undefined : format.marker };
    const call = post(bodyOf(config, question, exchange, format.maxTokens));
    const reply = replyOf(await ask(call, (each) => parseReply(each, replySchema, 'choices')));
    const score = scoreLabel(reply, labelled, weight);
    if (score === undefined) return unscored(`${name}: the reply holds no label: ${excerpt(reply.written)}`);
    const categories = question.category === undefined ? format.categories(reply.written) : [question.category];
    return { ...score, categories };
  };
}

function guardName({ name, model }: Pick<GuardConfig, 'name' | 'model'>): string {
  return name ?? `guard/${model}`;
}

export const guardApi = defineJudgeKind({
  name: 'guard-api',
  describe: 'a guard language model behind an OpenAI-compatible server, by the log-probs of its labels',
  fields,
  nameOf: guardName,
  sees: ({ format }) => GUARD_FORMATS[format].policy,
  open: async (config) => {
    const name = guardName(config);
    const format: GuardFormat = GUARD_FORMATS[config.format];
    if (config.api === 'chat' && !format.hasChat)
      throw new FloodgateError('config', `judge.api: got chat, expected completions for ${config.format}`, {
        hint: 'its prompt is not a chat: the server must offer /v1/completions',
      });
    const answer = createAsker(config, format, name);
    return createWireJudge({
      name,
      config,
      hint: 'check baseUrl, model, api and apiKeyEnv of the judge',
      score: async (exchange, ask) => {
        const questions = config.api === 'chat' ? [{ prompt: '' }] : format.questions(exchange);
        const answers = await Promise.all(questions.map((question) => answer(question, exchange, ask)));
        const missing = answers.find((each) => 'kind' in each);
        return missing ?? worst(answers as Answer[], name);
      },
    });
  },
});
