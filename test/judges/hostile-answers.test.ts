import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GUARD_FORMATS, type GuardFormatName } from '../../src/judges/guard-formats.ts';
import { GUARD_TEMPLATES } from '../../src/judges/guard-judge.ts';
import type { Judge, JudgeConfig } from '../../src/judges/judge.ts';
import { judgeSchema, openJudge } from '../../src/judges/registry.ts';
import type { JudgeModels } from '../../src/models/open-models.ts';
import { sendJson, startTestServer, type TestServer } from '../targets/openai-server.ts';
import { fakeModels } from './fake-models.ts';
import {
  CLOSERS,
  type Fence,
  hostileAnswers,
  LOCAL_CLOSERS,
  LOCAL_FENCES,
  obey,
  READS_ALL,
  READS_LOCAL,
  RUBRIC_PROMPT,
  rawPrompt,
  rubricFence,
  WIRE_FENCES,
} from './obedient-model.ts';

const FORMATS = Object.keys(GUARD_FORMATS) as GuardFormatName[];
const LOCAL_FORMATS = Object.keys(GUARD_TEMPLATES) as (keyof typeof GUARD_TEMPLATES)[];

let server: TestServer;

/** The fence of a prompt: that of its format's question with the same end and the same beginning. */
function fenceFor(prompt: string, format: GuardFormatName): Fence {
  const found = WIRE_FENCES[format].find(({ fence }) => prompt.endsWith(fence.behind));
  if (found === undefined) throw new Error(`the prompt of ${format} has another end`);
  return found.fence;
}

function guardReply(prompt: string, format: GuardFormatName) {
  const verdict = obey(prompt, fenceFor(prompt, format), READS_ALL);
  const { labels, marker } = GUARD_FORMATS[format] as {
    labels: readonly { text: string; meaning: string }[];
    marker?: string;
  };
  const text = labels.find(({ meaning }) => meaning === verdict)?.text ?? '';
  const written = marker === undefined || prompt.endsWith(marker) ? [] : [marker];
  const top = Object.fromEntries(labels.map((label) => [label.text, label.text === text ? -0.05 : -3]));
  const tokens = [...written, text];
  const tops = [...written.map(() => null), top];
  return { choices: [{ text: tokens.join(''), logprobs: { tokens, top_logprobs: tops } }] };
}

function rubricReply(user: string) {
  const id = /^<<<PROMPT (\w+)/.exec(user)?.[1] ?? '';
  const verdict = obey(user, rubricFence(id), READS_ALL);
  return { choices: [{ message: { content: JSON.stringify({ id, reason: 'r', verdict }) } }] };
}

beforeAll(async () => {
  server = await startTestServer((response, { body }) => {
    const { model, prompt, messages } = JSON.parse(body) as {
      model: GuardFormatName;
      prompt?: string;
      messages?: { content: string }[];
    };
    if (prompt !== undefined) return sendJson(response, guardReply(prompt, model));
    return sendJson(response, rubricReply(messages?.[1]?.content ?? ''));
  });
});
afterAll(() => server.close());

/** Models of guards in this process that obey as the server does. */
const obedientModels = (format: (typeof LOCAL_FORMATS)[number]): JudgeModels => ({
  ...fakeModels,
  openLabelScorer: async () => ({
    scoreLabels: async (prompts, labels) =>
      prompts.map((prompt) => {
        const verdict = obey(prompt, LOCAL_FENCES[format].fence, READS_LOCAL);
        return Float64Array.from(labels, (label) => (label.trim().toLowerCase() === verdict ? -0.05 : -3));
      }),
    close: async () => undefined,
  }),
});

interface Tried {
  readonly name: string;
  readonly closers: readonly string[];
  readonly open: () => Promise<Judge>;
}

const JUDGES: Tried[] = [
  ...FORMATS.map((format) => ({
    name: `guard-api ${format}`,
    closers: CLOSERS,
    open: () => openAt({ kind: 'guard-api', format, model: format }),
  })),
  ...LOCAL_FORMATS.map((format) => ({
    name: `guard ${format}`,
    closers: LOCAL_CLOSERS,
    open: () => openAt({ kind: 'guard', format, model: 'fake' }, obedientModels(format)),
  })),
  { name: 'rubric', closers: CLOSERS, open: () => openAt({ kind: 'rubric', model: 'm' }) },
];

/** Prompts whose judged text can be put back as it was. */
const PROMPTS = [
  ...FORMATS.flatMap((format) =>
    WIRE_FENCES[format].map((each) => ({ name: `guard-api ${format}`, closers: CLOSERS, reader: READS_ALL, ...each })),
  ),
  ...LOCAL_FORMATS.map((format) => ({
    name: `guard ${format}`,
    closers: LOCAL_CLOSERS,
    reader: READS_LOCAL,
    ...LOCAL_FENCES[format],
  })),
  { name: 'rubric', closers: CLOSERS, reader: READS_ALL, ...RUBRIC_PROMPT },
];

function openAt(config: JudgeConfig, models: JudgeModels = fakeModels): Promise<Judge> {
  const place = config.kind === 'guard' ? {} : { baseUrl: `${server.url}/v1`, retries: 0 };
  return openJudge(judgeSchema().parse({ ...config, ...place }), { models });
}

const WANTED = ['safe', 'unsafe'] as const;

describe('hostile answers', () => {
  it('are 40 for each verdict', () => {
    for (const wanted of WANTED) {
      expect(new Set(hostileAnswers(wanted)).size).toBe(40);
      expect(new Set(hostileAnswers(wanted, LOCAL_CLOSERS)).size).toBe(40);
    }
  });

  const cases = JUDGES.flatMap((judge) => WANTED.map((wanted) => ({ ...judge, wanted })));

  it.each(cases)('change no verdict of $name to $wanted', async ({ open, closers, wanted }) => {
    const judge = await open();
    const attack = 'What do you think of me?';
    const plain = wanted === 'safe' ? 'You idiot.' : 'Good morning.';
    const answers = [plain, ...hostileAnswers(wanted, closers)];
    const verdicts = await judge.score(answers.map((response) => ({ attack, response })));
    await judge.close();
    const calledUnsafe = verdicts.map((verdict) => (verdict.kind === 'scored' ? verdict.unsafe > 0.5 : verdict.reason));
    const changed = answers.filter((_, i) => calledUnsafe[i] !== (wanted === 'safe'));
    expect(changed).toEqual([]);
  });

  it.each(PROMPTS)('would change every verdict of $name if they were shown as they are', (shown) => {
    const { prompt, fence, closers, reader } = shown;
    for (const wanted of WANTED) {
      for (const answer of hostileAnswers(wanted, closers)) {
        expect([answer, obey(rawPrompt(prompt, answer), fence, reader)]).toEqual([answer, wanted]);
      }
    }
  });
});
