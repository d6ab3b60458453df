import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { sha256Of } from '../../src/base/canonical-json.ts';
import { type RandomStream, randomStream } from '../../src/base/random.ts';

/** An OpenAI-compatible server that spoils a share of its answers, in every way that a server has been seen to. */
export interface ChaosServer {
  readonly url: string;
  /** Good answers that were sent whole, by prompt, seed and choice. */
  readonly delivered: ReadonlyMap<string, number>;
  /** Faults that were committed, by name. */
  readonly faults: ReadonlyMap<string, number>;
  close(): Promise<void>;
}

interface Asked {
  readonly prompt: string;
  readonly n: number;
  readonly seed: number;
}

/** Names a prompt in its answers. */
export function chaosDigest(prompt: string): string {
  return sha256Of(prompt).slice(0, 12);
}

/** The one answer to a prompt under a seed: an answer that is stored with another attack is found out. */
export function chaosAnswer(prompt: string, seed: number, choice: number): string {
  const digest = chaosDigest(prompt);
  return `${Number.parseInt(digest[0] as string, 16) < 5 ? 'alarm' : 'fine'} ${digest} ${seed} ${choice}`;
}

function choicesOf({ prompt, n, seed }: Asked, reason = 'stop') {
  return Array.from({ length: n }, (_, index) => ({
    index,
    finish_reason: reason,
    message: { role: 'assistant', content: reason === 'stop' ? chaosAnswer(prompt, seed, index) : null },
  }));
}

function bodyOf(asked: Asked): string {
  return JSON.stringify({ choices: choicesOf(asked), usage: { completion_tokens: 4 * asked.n, prompt_tokens: 9 } });
}

function send(response: ServerResponse, body: string, status = 200, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(body);
}

const MEGABYTE = Buffer.alloc(2 ** 20, ' ');

/** 50 MB of white space: whoever reads all of it before looking has lost. */
function sendHuge(response: ServerResponse, left = 50): void {
  if (left === 0 || response.destroyed) response.end();
  else response.write(MEGABYTE, () => setImmediate(() => sendHuge(response, left - 1)));
}

type Fault = (response: ServerResponse, asked: Asked) => void;

const FAULTS: Readonly<Record<string, Fault>> = {
  '429 with Retry-After': (response) => send(response, '{"error":"slow down"}', 429, { 'retry-after': '1' }),
  '429 without Retry-After': (response) => send(response, '{"error":"slow down"}', 429),
  'status 500': (response) => send(response, '{"error":"boom"}', 500),
  reset: (response) => void response.socket?.resetAndDestroy(),
  'cut stream': (response, asked) => {
    const body = bodyOf(asked);
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) });
    response.write(body.slice(0, body.length / 2), () => response.socket?.destroy());
  },
  hang: () => undefined,
  'HTML error': (response) => send(response, '<html>bad gateway</html>', 200, { 'content-type': 'text/html' }),
  '200 with an error': (response) => send(response, '{"error":{"message":"overloaded"}}'),
  '50 MB body': (response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    sendHuge(response);
  },
  'wrong n': (response, asked) => send(response, bodyOf({ ...asked, n: asked.n + 1 })),
  'empty choices': (response) => send(response, '{"choices":[]}'),
  'content filter': (response, asked) =>
    send(response, JSON.stringify({ choices: choicesOf(asked, 'content_filter') })),
};

export const FAULT_NAMES = Object.keys(FAULTS);

function readAsked(text: string): Asked {
  const body = JSON.parse(text) as { messages: { content: string }[]; n?: number; seed: number };
  return { prompt: body.messages.at(-1)?.content ?? '', n: body.n ?? 1, seed: body.seed };
}

function pick(stream: RandomStream, share: number): string | undefined {
  return stream.nextFloat() < share ? FAULT_NAMES[stream.nextInt(FAULT_NAMES.length)] : undefined;
}

/** @param share of the requests that are spoiled. @param isSpared prompts that are never spoiled and not counted: checks. */
export async function startChaosServer(
  share: number,
  seed: number,
  isSpared: (prompt: string) => boolean = () => false,
): Promise<ChaosServer> {
  const stream = randomStream(seed, 'chaos');
  const delivered = new Map<string, number>();
  const faults = new Map<string, number>();
  const answer = (response: ServerResponse, asked: Asked): void => {
    response.once('finish', () => {
      for (let choice = 0; choice < asked.n; choice++) {
        const key = `${asked.prompt}\0${asked.seed}\0${choice}`;
        delivered.set(key, (delivered.get(key) ?? 0) + 1);
      }
    });
    send(response, bodyOf(asked));
  };
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request) chunks.push(chunk as Buffer);
    } catch {
      return; // the client is gone
    }
    if (request.method !== 'POST') return send(response, '{"data":[{"id":"m"}]}');
    const asked = readAsked(Buffer.concat(chunks).toString('utf8'));
    if (isSpared(asked.prompt)) return send(response, bodyOf(asked));
    const name = pick(stream, share);
    if (name === undefined) return answer(response, asked);
    faults.set(name, (faults.get(name) ?? 0) + 1);
    FAULTS[name]?.(response, asked);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    delivered,
    faults,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
