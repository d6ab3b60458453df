import { monotonicMs } from '../base/clock.ts';
import { WireFailure } from '../wire/wire-failure.ts';
import { answersOf, type OpenAiDraw, type OpenAiReply, parseOpenAiReply } from './openai-protocol.ts';
import { type OpenAiServer, openAiCall } from './openai-target.ts';
import { openWire } from './remote-fields.ts';
import { shownRequest } from './shown-request.ts';
import { type Ability, HARMLESS_PROMPT, type TargetCheck, type TargetConfig } from './target-kind.ts';
import { toWireError } from './wire-errors.ts';

type CheckedConfig = TargetConfig & Parameters<typeof openWire>[1] & { readonly sendSeed: boolean };

/**
 * A harmless prompt, sent a few times: as it is, for two answers, twice under one seed, and with log-probs. A server
 * lacks what it refuses or ignores.
 */
export async function checkOpenAi(
  server: OpenAiServer,
  config: CheckedConfig,
  signal: AbortSignal,
): Promise<TargetCheck> {
  const { client, checker } = openWire('target', config);
  const { decode } = config;
  const send = (draw: Partial<OpenAiDraw>, extra: Readonly<Record<string, unknown>> = {}) => {
    const prompt = { ...server.prompt, extraBody: { ...server.prompt.extraBody, ...extra } };
    const call = openAiCall({ ...server, prompt }, { attack: HARMLESS_PROMPT, decode, n: 1, seed: undefined, ...draw });
    return checker.call(call, parseOpenAiReply, signal);
  };
  try {
    const call = openAiCall(server, { attack: HARMLESS_PROMPT, decode, n: 1, seed: config.sendSeed ? 1 : undefined });
    const began = monotonicMs();
    const reply: OpenAiReply = await checker.call(call, parseOpenAiReply, signal);
    const ms = monotonicMs() - began;
    const [answer] = answersOf(reply, decode.maxNewTokens);
    return {
      request: shownRequest(call),
      answer,
      ms,
      stopReason: reply.choices[0]?.finish_reason ?? undefined,
      abilities: {
        'n > 1': await ability(async () => countAbility((await send({ n: 2 })).choices.length)),
        seed: await ability(async () => seedAbility(await send({ seed: 7 }), await send({ seed: 7 }))),
        'log-probs': await ability(async () => {
          const asked = server.prompt.api === 'chat' ? { logprobs: true } : { logprobs: 1 };
          const { logprobs } = (await send({}, asked)).choices[0] ?? {};
          return logprobs === null || logprobs === undefined ? no('ignored') : YES;
        }),
      },
    };
  } catch (error) {
    throw toWireError(error, server.asked);
  } finally {
    await client.close();
  }
}

const YES: Ability = { works: true };

function no(why: string): Ability {
  return { works: false, why };
}

function countAbility(choices: number): Ability {
  return choices === 2 ? YES : no(`${choices} of 2 answers came: each response takes a request of its own`);
}

/** Equal answers under one seed: so far as two answers can tell. */
function seedAbility(a: OpenAiReply, b: OpenAiReply): Ability {
  const texts = [a, b].map(({ choices }) =>
    JSON.stringify(choices.map(({ message, text }) => message?.content ?? text)),
  );
  return texts[0] === texts[1] ? YES : no('two answers under one seed differ');
}

async function ability(find: () => Promise<Ability>): Promise<Ability> {
  try {
    return await find();
  } catch (error) {
    if (error instanceof WireFailure) return no(error.message);
    throw error;
  }
}
