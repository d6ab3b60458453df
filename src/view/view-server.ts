import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { fileURLToPath } from 'node:url';
import { registerSecret } from '../base/errors.ts';
import { packageFile, programFile } from '../base/package-root.ts';
import { ApiError, toApiError } from '../serve/api-error.ts';
import { checkHost, requireMethod, sendJson } from '../serve/http-guard.ts';
import { HOST, listenOnLoopback } from '../serve/loopback.ts';
import { ATTACK_SOURCES, attackAnswer, attacksAnswer } from './attack-answers.ts';
import { topicsAnswer } from './attack-topics.ts';
import { compareAnswer } from './compare-answers.ts';
import { CompareJobs } from './compare-jobs.ts';
import { heatAnswer } from './heat-answers.ts';
import { addedLabel, sampleAnswer } from './label-answers.ts';
import { labelsAnswer } from './label-list.ts';
import { mapAnswer } from './map-answers.ts';
import { relatedAnswer } from './related-answers.ts';
import { curvesAnswer, listAnswer, overviewAnswer } from './run-answers.ts';
import { KeptAnswers } from './run-content.ts';
import { controlRun } from './run-control.ts';
import { checkOrigin, ViewSession } from './session.ts';
import type { ViewedRuns } from './viewed-runs.ts';

export interface ViewOptions {
  /** 0: any free port. */
  readonly port: number;
  /** Told errors that no client may read. */
  readonly log?: (line: string) => void;
  /** The script of the command line, which resumes runs; the package's own when absent. */
  readonly cli?: string;
  /** The compiled program of the thread that compares runs; the package's own when absent. */
  readonly compareWorker?: URL;
}

export interface RunningView {
  /** Address with the token in its fragment, which no request carries. */
  readonly url: string;
  readonly port: number;
  /** Ends every request at once. */
  close(): Promise<void>;
}

/** Files of the page: a request names one of these or gets none. */
const ASSETS: Readonly<Record<string, readonly [file: string, type: string]>> = {
  '/': ['view/view.html', 'text/html; charset=utf-8'],
  '/page.css': ['report/page.css', 'text/css; charset=utf-8'],
  '/view.css': ['view/view.css', 'text/css; charset=utf-8'],
  '/view.js': ['view/view.js', 'text/javascript; charset=utf-8'],
  '/parts.js': ['view/parts.js', 'text/javascript; charset=utf-8'],
  '/heat.js': ['view/heat.js', 'text/javascript; charset=utf-8'],
  '/control.js': ['view/control.js', 'text/javascript; charset=utf-8'],
  '/compare.js': ['view/compare.js', 'text/javascript; charset=utf-8'],
  '/attacks.js': ['view/attacks.js', 'text/javascript; charset=utf-8'],
  '/topics.js': ['view/topics.js', 'text/javascript; charset=utf-8'],
  '/map.js': ['view/map.js', 'text/javascript; charset=utf-8'],
  '/related.js': ['view/related.js', 'text/javascript; charset=utf-8'],
  '/labels.js': ['view/labels.js', 'text/javascript; charset=utf-8'],
  '/label-list.js': ['view/label-list.js', 'text/javascript; charset=utf-8'],
  '/sample.js': ['view/sample.js', 'text/javascript; charset=utf-8'],
};

/** On every answer. The page may load its own files and ask its own server, and nothing else. */
const HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; '),
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'cache-control': 'no-store',
};

/** A browser that is led to an answer of the API saves it under this name, and shows it nowhere. */
const SAVED_AS = { 'content-disposition': 'attachment; filename="floodgate.json"' };

/** The addresses that take something. */
const TAKING = /^\/api\/runs\/([^/]+)\/(labels|control)$/;

const MAX_CONNECTIONS = 64;
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 30_000;

function decodePart(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new ApiError(404, 'there is no such page here', { code: 'unknown_url' });
  }
}

class ViewServer {
  readonly session = new ViewSession();
  private readonly runs: ViewedRuns;
  private readonly log: ViewOptions['log'];
  private readonly cli: string;
  readonly compareJobs: CompareJobs;
  private readonly kept = new KeptAnswers();

  constructor(runs: ViewedRuns, { log, cli, compareWorker }: ViewOptions) {
    this.compareJobs = new CompareJobs(compareWorker ?? programFile('view/compare-worker.js'));
    this.runs = runs;
    this.log = log;
    this.cli = cli ?? fileURLToPath(packageFile('dist/cli/main.js'));
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    const gone = new AbortController();
    response.on('close', () => gone.abort());
    try {
      checkHost(request, request.socket.localPort ?? 0);
      checkOrigin(request);
      await this.route(request, response, gone.signal);
    } catch (error) {
      const failure = toApiError(error);
      if (failure.status === 500) this.log?.(`error: ${error instanceof Error ? error.message : String(error)}`);
      if (!response.destroyed && !response.headersSent)
        sendJson(response, failure.status, failure.body, { ...SAVED_AS, ...failure.details.headers });
    }
  }

  private async route(request: IncomingMessage, response: ServerResponse, signal: AbortSignal): Promise<void> {
    // No parser of addresses: it would fold `..` before it is seen.
    const [path = '', search = ''] = (request.url ?? '').split('?', 2);
    if (path === '/api/session') {
      requireMethod(request, 'POST');
      return this.session.begin(request, response);
    }
    const [, run, taking] = (request.method === 'POST' ? TAKING.exec(path) : null) ?? [];
    if (run !== undefined) {
      this.session.check(request);
      const folder = await this.runs.find(decodePart(run));
      const taken =
        taking === 'labels' ? await addedLabel(folder, request) : await controlRun(folder, request, this.cli);
      if (!response.destroyed) sendJson(response, 201, taken, SAVED_AS);
      return;
    }
    requireMethod(request, 'GET');
    const asset = ASSETS[path];
    if (asset !== undefined) return sendAsset(response, asset);
    if (path === '/favicon.ico') return void response.writeHead(204).end();
    this.session.check(request);
    const answer = await this.answer(path, new URLSearchParams(search), signal);
    if (!response.destroyed) sendJson(response, 200, answer, SAVED_AS);
  }

  private async answer(path: string, query: URLSearchParams, signal: AbortSignal): Promise<object> {
    const [empty, api, runs, key, part, id, view, ...more] = path.split('/').map(decodePart);
    if (path === '/api/compare') return compareAnswer(this.runs, this.compareJobs, query, signal);
    if (path === '/api/choices') return { sources: ATTACK_SOURCES };
    if (empty === '' && api === 'api' && runs === 'runs' && more.length === 0) {
      if (key === undefined) return listAnswer(this.runs, this.kept);
      const folder = await this.runs.find(key);
      if (part === undefined) return overviewAnswer(folder, this.kept);
      if (part === 'curves' && id === undefined) return curvesAnswer(folder);
      if (part === 'heat' && id === undefined) return heatAnswer(folder);
      if (part === 'labels' && id === undefined) return labelsAnswer(folder, query);
      if (part === 'sample' && id === undefined) return sampleAnswer(folder, this.kept);
      if (part === 'map' && id === undefined) return mapAnswer(folder);
      if (part === 'topics' && id === undefined) return topicsAnswer(folder, query, signal);
      if (part === 'attacks' && view === 'related' && id !== undefined) return relatedAnswer(folder, id, query, signal);
      if (part === 'attacks' && view === undefined)
        return id === undefined ? attacksAnswer(folder, query, signal) : attackAnswer(folder, id, query);
    }
    throw new ApiError(404, 'there is no such page here', { code: 'unknown_url' });
  }
}

function sendAsset(response: ServerResponse, [file, type]: readonly [file: string, type: string]): void {
  response.writeHead(200, { 'content-type': type }).end(readFileSync(packageFile(`assets/${file}`)));
}

/**
 * Shows runs to a browser on this machine. Run databases are opened read-only, for one answer at a time.
 * @throws FloodgateError `usage` when the port cannot be opened.
 */
export async function viewRuns(runs: ViewedRuns, options: ViewOptions): Promise<RunningView> {
  const app = new ViewServer(runs, options);
  registerSecret(app.session.token);
  const server = createServer({ headersTimeout: HEADERS_TIMEOUT_MS, requestTimeout: REQUEST_TIMEOUT_MS });
  server.maxConnections = MAX_CONNECTIONS;
  server.on('request', (request, response) => void app.handle(request, response));
  const port = await listenOnLoopback('view', server, options.port);
  return {
    url: `http://${HOST}:${port}/#token=${app.session.token}`,
    port,
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await app.compareJobs.close();
      await closed;
    },
  };
}
