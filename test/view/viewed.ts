import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type IncomingHttpHeaders, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseDocument, stringify } from 'yaml';
import { wilsonInterval } from '../../src/metrics/intervals.ts';
import { pointMeasure } from '../../src/metrics/measure.ts';
import { type RunStatus, recordRunStatus } from '../../src/runs/run-folder.ts';
import { type ViewOptions, viewRuns } from '../../src/view/view-server.ts';
import { openViewedRuns } from '../../src/view/viewed-runs.ts';
import { type FixtureAttack, type FixtureOptions, fixtureAttacks, fixtureRun } from '../report/fixture-run.ts';

/** Texts that would be markup, script, a link or another reading order, were they ever read as anything but text. */
export const HOSTILE: readonly FixtureAttack[] = [
  '<img src=x onerror="window.ran = true">',
  '</script><script>window.ran = true</script>',
  'javascript:window.ran = true',
  '\u202egnitirw desrever\u202c\u0000 and a NUL',
  '100% _under_ \\ back',
].map((text) => ({
  text,
  responses: [`<b>${text}</b>`, '{{constructor.constructor("window.ran = true")()}}'],
  unsafe: 0.9,
}));

/** A whole run in `parent`, with a real database. */
export async function makeRun(parent: string, name: string, options: FixtureOptions & { status?: RunStatus } = {}) {
  const folder = join(parent, name);
  mkdirSync(folder);
  const attacks = [...fixtureAttacks(), ...HOSTILE];
  const { store, manifest, config } = await fixtureRun({ attacks, databasePath: join(folder, 'run.db'), ...options });
  recordRunStatus(store, options.status ?? 'done');
  store.close();
  writeFileSync(join(folder, 'manifest.json'), JSON.stringify(manifest));
  writeFileSync(join(folder, 'config.yaml'), stringify(config));
  return folder;
}

/** Names of cells are words of a config: text, never markup. */
export const CELLS = ['<b>cats</b>', 'dogs'] as const;

/** A run with cells, a small one: attacks 1, 3 and 5 are of the first, 2 and 4 of the second, 6 is of none. */
export async function makeCellRun(parent: string, name: string): Promise<void> {
  const attacks = fixtureAttacks(6).map((attack, i) => ({
    ...attack,
    ...(i < 5 ? { cell: CELLS[i % 2] as string } : {}),
  }));
  const judge = 'other';
  const metrics = CELLS.flatMap((cell, i) => [
    { name: `cellAsr ${cell}`, judge, ...wilsonInterval(2 - i, 3 - i) },
    { name: `cellWordings ${cell}`, judge, ...pointMeasure(2 - i, 3 - i, 'count') },
  ]);
  const config = join(await makeRun(parent, name, { attacks, metrics, stages: ['gflownet'] }), 'config.yaml');
  const written = parseDocument(readFileSync(config, 'utf8'));
  written.setIn(
    ['attacker', 'cells'],
    CELLS.map((name) => ({ name })),
  );
  writeFileSync(config, String(written));
}

export interface Answer {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

export interface ToSend {
  readonly method?: string;
  /** As it is: no client folds it. */
  readonly path?: string;
  /** An empty one is left out. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** A viewer over runs of a temporary folder; `close` removes both. */
export async function startView(
  make: (parent: string) => Promise<unknown>,
  names: readonly string[] = [],
  options: Partial<ViewOptions> = {},
) {
  const parent = mkdtempSync(join(tmpdir(), 'floodgate-view-'));
  await make(parent);
  const log: string[] = [];
  const view = await viewRuns(await openViewedRuns(names, parent), {
    port: 0,
    log: (line) => void log.push(line),
    ...options,
  });
  const [base = '', token = ''] = view.url.split('/#token=');

  const send = ({ method = 'GET', path = '/', headers = {}, body = '' }: ToSend): Promise<Answer> => {
    const all = { host: `127.0.0.1:${view.port}`, ...headers };
    const given = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== ''));
    return new Promise((resolve, reject) => {
      const options = { host: '127.0.0.1', port: view.port, method, path, headers: given, agent: false };
      const sent = request(options, (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (piece: string) => {
          text += piece;
        });
        response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text }));
      });
      sent.on('error', reject);
      sent.end(body);
    });
  };
  const exchange = (given: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> =>
    send({
      method: 'POST',
      path: '/api/session',
      headers: { origin: base, ...headers },
      body: JSON.stringify({ token: given }),
    });
  const begun = await exchange(token);
  const cookie = (begun.headers['set-cookie']?.[0] ?? '').split(';')[0] as string;
  /** The JSON of a good answer. */
  const get = async <T>(path: string): Promise<T> => {
    const { status, text } = await send({ path, headers: { cookie } });
    if (status !== 200) throw new Error(`${path}: ${status} ${text}`);
    return JSON.parse(text) as T;
  };
  const close = async (): Promise<void> => {
    await view.close();
    rmSync(parent, { recursive: true, force: true });
  };
  return { view, parent, base, token, cookie, begun, log, send, exchange, get, close };
}

export type StartedView = Awaited<ReturnType<typeof startView>>;
