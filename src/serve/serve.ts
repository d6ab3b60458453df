import { randomInt } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { registerSecret } from '../base/errors.ts';
import { randomStream } from '../base/random.ts';
import { type AnswerRequest, answer } from './answer.ts';
import { ApiError, toApiError } from './api-error.ts';
import { parseChatWish, parseTextWish, type Wish } from './completion-request.ts';
import { GenerationQueue } from './generation-queue.ts';
import { checkHost, checkToken, readJson, requireMethod, sendJson } from './http-guard.ts';
import { HOST, listenOnLoopback } from './loopback.ts';
import { type AnswerShape, createChatShape, createTextShape } from './openai-shapes.ts';
import type { ServedModel } from './served-model.ts';

export interface ServeOptions {
  /** 0: any free port. */
  readonly port: number;
  /** Bearer token that each request must carry. */
  readonly token: string;
  /** Told a line for each request that has ended, and errors that no client may read. */
  readonly log?: (line: string) => void;
}

export interface RunningServer {
  /** Base URL for OpenAI clients. */
  readonly url: string;
  readonly port: number;
  /** Ends every request at its next token. The caller closes the model. */
  close(): Promise<void>;
}

/** Connections at once, and the time that a client may take to send a request. */
const MAX_CONNECTIONS = 128;
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 60_000;
/** Time that a client may wait between two requests on one connection, as each answer tells it. */
const KEEP_ALIVE_MS = 10_000;
/** Further time until the connection is closed: while a model runs, a request in time may be read so late. */
const READ_LATE_MS = 20_000;

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly signal: AbortSignal;
}

/** Answers to the paths of OpenAI's interface for one model. */
class OpenAiServer {
  private readonly model: ServedModel;
  private readonly queue: GenerationQueue;
  private readonly options: ServeOptions;
  private readonly created = Math.floor(Date.now() / 1000);

  constructor(model: ServedModel, queue: GenerationQueue, options: ServeOptions) {
    this.model = model;
    this.queue = queue;
    this.options = options;
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const start = performance.now();
    const gone = new AbortController();
    response.on('close', () => gone.abort());
    const { log } = this.options;
    try {
      checkHost(request, request.socket.localPort ?? 0);
      checkToken(request, this.options.token);
      await this.route({ request, response, signal: gone.signal });
    } catch (error) {
      const failure = toApiError(error);
      if (failure.status === 500) log?.(`error: ${error instanceof Error ? error.message : String(error)}`);
      sendError(response, failure);
    }
    const isGone = gone.signal.aborted && !response.writableFinished;
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    log?.(`${request.method} ${request.url}  ${isGone ? 'the client went away' : response.statusCode}  ${seconds} s`);
  }

  private async route(exchange: Exchange): Promise<void> {
    const { request, response } = exchange;
    const path = new URL(request.url ?? '', `http://${HOST}`).pathname;
    if (path === '/v1/chat/completions') return this.chat(exchange);
    if (path === '/v1/completions') return this.complete(exchange);
    if (path !== '/v1/models' && !path.startsWith('/v1/models/'))
      throw new ApiError(404, `there is no ${path} here`, { code: 'unknown_url' });
    requireMethod(request, 'GET');
    const { id } = this.model;
    const card = { id, object: 'model', created: this.created, owned_by: 'floodgate' };
    if (path === '/v1/models') return sendJson(response, 200, { object: 'list', data: [card] });
    this.requireModel(decodePath(path.slice('/v1/models/'.length)));
    sendJson(response, 200, card);
  }

  private async chat(exchange: Exchange): Promise<void> {
    requireMethod(exchange.request, 'POST');
    const wish = parseChatWish(await readJson(exchange.request));
    this.requireModel(wish.model);
    const shape = createChatShape({ model: this.model, hasLogProbs: wish.bestTokens !== undefined });
    await this.reply(exchange, shape, {
      wish,
      prompts: [this.model.chatPrompt(wish.messages, chooseCell(this.model, wish))],
    });
  }

  private async complete(exchange: Exchange): Promise<void> {
    requireMethod(exchange.request, 'POST');
    const wish = parseTextWish(await readJson(exchange.request));
    this.requireModel(wish.model);
    const shape = createTextShape({ model: this.model, hasLogProbs: wish.bestTokens !== undefined });
    const cell = chooseCell(this.model, wish);
    const prompts = wish.prompts.map((prompt) => this.model.textPrompt(prompt, cell));
    await this.reply(exchange, shape, { wish, prompts });
  }

  private requireModel(id: string): void {
    if (id === this.model.id) return;
    throw new ApiError(404, `the model ${JSON.stringify(id)} is not served here, expected ${this.model.id}`, {
      param: 'model',
      code: 'model_not_found',
    });
  }

  private async reply(
    { response, signal }: Exchange,
    shape: AnswerShape,
    request: Pick<AnswerRequest, 'wish' | 'prompts'>,
  ): Promise<void> {
    const asked = { ...request, signal };
    if (request.wish.isStreamed) await this.stream(response, shape, asked);
    else sendJson(response, 200, shape.whole(await answer(this.model, this.queue, asked)));
  }

  private async stream(response: ServerResponse, shape: AnswerShape, request: AnswerRequest): Promise<void> {
    const events = createEvents(response);
    const begun = new Set<number>();
    const begin = (choice: number): void => {
      if (!begun.has(choice)) for (const chunk of shape.begin(choice)) events.send(chunk);
      begun.add(choice);
    };
    const { wish } = request;
    const onPiece: AnswerRequest['onPiece'] = (choice, piece) => {
      begin(choice);
      if (piece.text !== '' || (wish.bestTokens !== undefined && piece.tokens.length > 0))
        events.send(shape.piece(choice, piece));
    };
    const { choices, usage } = await answer(this.model, this.queue, { ...request, onPiece });
    for (const [choice, { finishReason }] of choices.entries()) events.send(shape.end(choice, finishReason));
    if (wish.isUsageStreamed) events.send(shape.usage(usage));
    events.end();
  }
}

/** The cell of all attacks of a request: the one asked for, or one at random, which a seed repeats. */
function chooseCell({ cells, id }: ServedModel, { cell, seed }: Pick<Wish, 'cell' | 'seed'>): string | undefined {
  if (cell === undefined) {
    if (cells === undefined) return undefined;
    return cells[seed === undefined ? randomInt(cells.length) : randomStream(seed, 'serve cell').nextInt(cells.length)];
  }
  if (cells?.includes(cell)) return cell;
  const known = cells === undefined ? 'no cell: it has none' : `one of ${cells.join(', ')}`;
  throw new ApiError(400, `cell: ${id} does not know ${JSON.stringify(cell)}, expected ${known}`, { param: 'cell' });
}

function decodePath(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Writes an error as a whole answer, or as the last event of a stream that has begun. */
function sendError(response: ServerResponse, error: ApiError): void {
  if (response.destroyed) return;
  if (response.headersSent) response.end(`data: ${JSON.stringify(error.body)}\n\n`);
  else sendJson(response, error.status, error.body, error.details.headers);
}

/** Server-sent events. The headers go out with the first, so that an error before it still has its status. */
function createEvents(response: ServerResponse) {
  const write = (text: string): void => {
    if (!response.headersSent)
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    response.write(`data: ${text}\n\n`);
  };
  return {
    send: (event: object): void => write(JSON.stringify(event)),
    end: (): void => {
      write('[DONE]');
      response.end();
    },
  };
}

/** Keeps a connection longer than its client was told: one that is closed at that moment loses a request under way. */
function keepLonger({ socket }: IncomingMessage, response: ServerResponse): void {
  response.on('finish', () => {
    const isWaiting = (socket.timeout ?? 0) >= KEEP_ALIVE_MS; // 0 where another request came in the meantime
    if (isWaiting) socket.setTimeout(KEEP_ALIVE_MS + READ_LATE_MS);
  });
}

/**
 * Serves a model to programs on this machine, in OpenAI's interface.
 * @throws FloodgateError `usage` when the port cannot be opened.
 */
export async function serveModel(model: ServedModel, options: ServeOptions): Promise<RunningServer> {
  registerSecret(options.token);
  const queue = new GenerationQueue(model);
  const app = new OpenAiServer(model, queue, options);
  const server = createServer({ headersTimeout: HEADERS_TIMEOUT_MS, requestTimeout: REQUEST_TIMEOUT_MS });
  server.maxConnections = MAX_CONNECTIONS;
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  server.on('request', (request, response) => {
    keepLonger(request, response);
    void app.handle(request, response);
  });
  const port = await listenOnLoopback('serve', server, options.port);
  return {
    url: `http://${HOST}:${port}/v1`,
    port,
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await queue.close();
      await closed;
    },
  };
}
