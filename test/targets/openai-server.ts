import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** One request as the server saw it. */
export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** Spoils a response; `'answer'` lets the server answer as it would. */
export type Fault = (response: ServerResponse, seen: SeenRequest) => unknown;

export interface TestServer {
  readonly url: string;
  readonly host: string;
  readonly seen: SeenRequest[];
  /** Most requests that were open at once. */
  readonly peak: number;
  /** Faults of the next requests, first come first served; then the server answers. */
  readonly faults: Fault[];
  close(): Promise<void>;
}

async function readAll(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

/**
 * A real HTTP server on a free port of the loopback, which commits the faults that a test puts into `faults`.
 * @param at its address, where it has the machine's loopback for itself.
 */
export async function startTestServer(
  answer: (response: ServerResponse, seen: SeenRequest) => unknown,
  at: { readonly host: string; readonly port: number } = { host: '127.0.0.1', port: 0 },
): Promise<TestServer> {
  const seen: SeenRequest[] = [];
  const faults: Fault[] = [];
  let open = 0;
  let peak = 0;
  const server = createServer(async (request, response) => {
    open++;
    peak = Math.max(peak, open);
    response.on('close', () => open--);
    const { method = '', url: path = '', headers } = request;
    const one = { method, path, headers, body: await readAll(request).catch(() => '') };
    seen.push(one);
    const fault = faults.shift();
    if (fault !== undefined && fault(response, one) !== 'answer') return;
    await answer(response, one);
  });
  server.keepAliveTimeout = 60_000; // a busy test must not lose a request to a connection that is closed meanwhile
  await new Promise<void>((resolve) => server.listen(at.port, at.host, resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://${at.host}:${port}`,
    host: `${at.host}:${port}`,
    seen,
    faults,
    get peak() {
      return peak;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

export function sendJson(response: ServerResponse, json: unknown, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(json));
}

/** How an OpenAI-compatible server behaves where servers differ. */
export interface OpenAiQuirks {
  /** `ignored`: one choice whatever is asked; `refused`: status 400. */
  readonly n?: 'kept' | 'ignored' | 'refused';
  readonly hasUsage?: boolean;
  readonly models?: readonly string[];
  /** The answer to a prompt. */
  readonly reply?: (prompt: string, choice: number) => string;
  readonly key?: string;
}

const WORDS = ['no', 'yes', 'maybe', 'never', 'hello'];

function wordsFor(prompt: string, choice: number): string {
  return `${WORDS[(prompt.length + choice) % WORDS.length]} ${WORDS[choice % WORDS.length]}`;
}

interface OpenAiBody {
  readonly model: string;
  readonly n?: number;
  readonly messages?: readonly { readonly role: string; readonly content: string }[];
  readonly prompt?: string;
  readonly logprobs?: unknown;
}

function choiceOf(body: OpenAiBody, index: number, reply: (prompt: string, choice: number) => string) {
  const prompt = body.messages?.at(-1)?.content ?? body.prompt ?? '';
  const text = reply(prompt, index);
  const isFiltered = prompt.includes('please refuse');
  const common = { index, finish_reason: isFiltered ? 'content_filter' : 'stop', logprobs: body.logprobs ? {} : null };
  return body.messages === undefined
    ? { ...common, text: isFiltered ? '' : text }
    : { ...common, message: { role: 'assistant', content: isFiltered ? null : text } };
}

/** Answers as vLLM and its like do. */
export function openAiAnswers(quirks: OpenAiQuirks = {}) {
  const { n = 'kept', hasUsage = true, models = ['m'], reply = wordsFor, key } = quirks;
  return (response: ServerResponse, seen: SeenRequest): unknown => {
    if (key !== undefined && seen.headers.authorization !== `Bearer ${key}`)
      return sendJson(response, { error: { message: `wrong key ${seen.headers.authorization}` } }, 401);
    if (seen.path.endsWith('/models')) return sendJson(response, { data: models.map((id) => ({ id })) });
    if (!/\/v1\/(chat\/)?completions$/.test(seen.path)) return response.writeHead(404).end('<html>not here</html>');
    const body = JSON.parse(seen.body) as OpenAiBody;
    if (!models.includes(body.model)) return sendJson(response, { error: { message: 'no such model' } }, 404);
    const prompt = body.messages?.at(-1)?.content ?? body.prompt ?? '';
    if (prompt.includes('break down')) return sendJson(response, { error: { message: 'cannot parse that' } }, 400);
    const asked = body.n ?? 1;
    if (n === 'refused' && asked > 1) return sendJson(response, { error: { message: 'n must be 1' } }, 400);
    const choices = Array.from({ length: n === 'kept' ? asked : 1 }, (_, i) => choiceOf(body, i, reply));
    return sendJson(response, { choices, ...(hasUsage ? { usage: { completion_tokens: 3 * choices.length } } : {}) });
  };
}
