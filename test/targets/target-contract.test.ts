import { randomInt } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { FloodgateError } from '../../src/base/errors.ts';
import type { AskOptions, Target, TargetAnswer, TargetRequest } from '../../src/targets/target.ts';
import { describeTargetContract } from './target-contract.ts';

const REFUSED = 'forbidden';
const FAILED = 'broken';
/** Bytes that the provider takes in one request. */
const MAX_BODY = 100_000;

/** One call to the provider: its answer is drawn at random each time, from no stream. */
async function callProvider(attack: string, { decode, signal }: AskOptions): Promise<TargetAnswer> {
  if (attack.length > MAX_BODY) {
    return { kind: 'failed', reason: `got ${attack.length} characters`, usage: { calls: 0, tokens: 0 } };
  }
  await delay(2 + randomInt(3));
  if (signal?.aborted) throw new FloodgateError('interrupted', 'provider: interrupted');
  if (attack === REFUSED) return { kind: 'refused', reason: 'content filter', usage: { calls: 1, tokens: 0 } };
  if (attack === FAILED) return { kind: 'failed', reason: '500 after 3 tries', usage: { calls: 3, tokens: 0 } };
  const words = 1 + randomInt(2 * decode.maxNewTokens);
  const tokens = Math.min(words, decode.maxNewTokens);
  const text = Array.from({ length: tokens }, () => randomInt(1000).toString()).join(' ');
  return { kind: 'text', text, truncated: words > decode.maxNewTokens, usage: { calls: 1, tokens } };
}

/** A target as one over the network is: each answer is a call of its own, and none can be asked for again. */
function createProviderTarget(): Target {
  const underWay = new Set<Promise<unknown>>();
  let isClosed = false;
  return {
    name: 'provider/model',
    ask(requests: readonly TargetRequest[], options: AskOptions): Promise<TargetAnswer[][]> {
      if (isClosed) return Promise.reject(new FloodgateError('target', 'provider: used after close'));
      const answersTo = ({ attack }: TargetRequest) =>
        Promise.all(Array.from({ length: options.responses }, () => callProvider(attack, options)));
      const call = Promise.all(requests.map(answersTo));
      const ended = call.catch(() => undefined).finally(() => underWay.delete(ended));
      underWay.add(ended);
      return call;
    },
    async close(): Promise<void> {
      isClosed = true;
      await Promise.all(underWay);
    },
  };
}

describeTargetContract('a target over the network', async () => createProviderTarget(), {
  refused: REFUSED,
  failed: FAILED,
  unaskable: 'x'.repeat(MAX_BODY + 1),
});
