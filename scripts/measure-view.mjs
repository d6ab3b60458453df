// Measures `floodgate view` over a run with 1,000,000 attacks, which it makes in a temporary folder and removes.
//
//   npm run build && node scripts/measure-view.mjs [--attacks NUMBER]
//
// Prints one line for each question: the median and the slowest of five answers, as a client on this machine sees them,
// and the median of the processor time of server and client together, all in milliseconds.
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import Database from 'libsql';
import { createManifest } from '../dist/runs/manifest.js';
import { openStore } from '../dist/runs/store/run-store.js';
import { openViewedRuns } from '../dist/view/viewed-runs.js';
import { viewRuns } from '../dist/view/view-server.js';

const { values } = parseArgs({ options: { attacks: { type: 'string', default: '1000000' } } });
const attacks = Number(values.attacks);
const STAGES = ['sft', 'gflownet', 'evaluate:gflownet'];
const RARE = 'sphinx of black quartz';
const ROUNDS = 5;

/** One response and two verdicts for each attack; every tenth attack succeeds, and one text holds the rare words. */
function fill(path) {
  const db = new Database(path);
  const rows = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)';
  const stage = `1 + (i * ${STAGES.length} - 1) / ${attacks}`;
  const p = '(CASE WHEN i % 10 = 0 THEN 0.9 ELSE 0.1 END)';
  db.exec('BEGIN');
  db.prepare(`${rows} INSERT INTO attack (id, stage_id, update_index, position, source, ids, text, log_pi, log_p_ref,
    log_reward, mean_unsafe, response_count) SELECT i, ${stage}, i / 64, i % 64, 'fresh', '[' || i || ',17,2048,301,9,4,881,72,5,2]',
    'please tell me how people ' || hex(randomblob(24)) || ' in the old town', -31.5, -40.2, -12.3, ${p}, 1 FROM n`).run(attacks);
  db.prepare(`${rows} INSERT INTO response (id, attack_id, position, text, tokens, truncated)
    SELECT i, i, 0, 'an answer ' || hex(randomblob(40)), 20, 0 FROM n`).run(attacks);
  for (const judge of ['other', 'trainer'])
    db.prepare(`${rows} INSERT INTO verdict (response_id, judge, masked, unsafe) SELECT i, ?, 0, ${p} FROM n`).run(attacks, judge);
  db.prepare('UPDATE attack SET text = ? WHERE id = 5').run(`a ${RARE}`);
  db.exec('COMMIT');
  db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  db.close();
}

async function makeRun(folder) {
  mkdirSync(folder);
  writeFileSync(join(folder, 'config.yaml'), 'authorisation: measured\n');
  const manifest = createManifest({
    ...{ run: 'large', authorisation: 'measured', createdMs: 0, versions: { floodgate: '0.0.0' }, seed: 1, threads: 1 },
    ...{ devices: { attacker: 'cpu', encoder: 'cpu', target: 'cpu' }, configSha256: 'ab', seedsSha256: 'cd', models: [] },
    ...{ decode: { training: {}, evaluation: {} }, unsafeFloor: 0.01, judges: { training: 'trainer', evaluation: ['other'] } },
  });
  writeFileSync(join(folder, 'manifest.json'), JSON.stringify(manifest));
  const path = join(folder, 'run.db');
  const store = await openStore(path);
  for (const stage of STAGES) {
    store.beginStage(stage, attacks);
    store.endStage(stage, 'done');
  }
  store.close();
  fill(path);
}

const median = (times) => [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)];

async function measure(name, ask) {
  const times = [];
  const cpu = [];
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    const used = process.cpuUsage();
    await ask();
    times.push(performance.now() - start);
    const { user, system } = process.cpuUsage(used);
    cpu.push((user + system) / 1000);
  }
  const text = (value) => Math.round(value).toLocaleString('en-US');
  console.log(`| ${name} | ${text(median(times))} | ${text(Math.max(...times))} | ${text(median(cpu))} |`);
}

const folder = mkdtempSync(join(tmpdir(), 'floodgate-measure-view-'));
try {
  await makeRun(join(folder, 'large'));
  const view = await viewRuns(await openViewedRuns([], folder), { port: 0, log: console.error });
  const [base, token] = view.url.split('/#token=');
  const begun = await fetch(`${base}/api/session`, {
    ...{ method: 'POST', body: JSON.stringify({ token }), headers: { origin: base } },
  });
  const cookie = begun.headers.get('set-cookie').split(';')[0];
  const get = async (path) => {
    const answer = await fetch(`${base}/api/runs${path}`, { headers: { cookie } });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  /** All pages of a search until one is full or there are no more. */
  const search = async (query) => {
    for (let before = ''; ; ) {
      const { next, isFull, attacks: found } = await get(`/large/attacks?${query}&before=${before}`);
      if (isFull || next === null) return found;
      before = next;
    }
  };
  console.log('| question | median, ms | slowest, ms | processor, ms |\n|---|---|---|---|');
  await measure('list of runs', () => get(''));
  await measure('overview of the run', () => get('/large'));
  await measure('first page', () => get('/large/attacks'));
  await measure('a page in the middle', () => get(`/large/attacks?before=${Math.floor(attacks / 2)}`));
  await measure('first page of the first stage', () => get('/large/attacks?stage=sft'));
  await measure('first page of successes', () => get('/large/attacks?outcome=success'));
  await measure('first page of successes by a judge', () => get('/large/attacks?outcome=success&judge=other'));
  await measure('search, common words', () => search('search=OLD+town'));
  await measure('search, one match at the very end', () => search(`search=${RARE.replaceAll(' ', '+')}`));
  await measure('search, no match', () => search('search=no+such+words'));
  await measure('a category, no match', () => search('category=hate'));
  await measure('topics of the run', () => get('/large/topics'));
  await measure('an attack beside others', () => get('/large/attacks/5/related'));
  await view.close();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
