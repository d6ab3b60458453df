// Measures `floodgate view` over a run with 1,000,000 attacks, which it makes in a temporary folder and removes.
//
//   npm run build:lab && node scripts/measure-view.mjs [--attacks NUMBER] [--compared NUMBER] [--rounds NUMBER]
//
// Prints one line for each question: the median and the slowest of five answers, as a client on this machine sees them,
// and the median of the processor time of server and client together, all in milliseconds. A filter is asked until its
// page is full or every attack was looked at. At the end two runs are compared while another page is asked for.
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import Database from 'libsql';
import { KEPT_MAP, textsKey } from '../lab/.build/src/report/attacks/kept-map.js';
import { labelRun } from '../lab/.build/src/runs/labelled-run.js';
import { createManifest } from '../lab/.build/src/runs/manifest.js';
import { openRunFolder } from '../lab/.build/src/runs/run-folder.js';
import { openStore } from '../lab/.build/src/runs/store/run-store.js';
import { causeSha256, recordCauses } from '../lab/.build/src/stages/evaluation/causes-record.js';
import { openViewedRuns } from '../lab/.build/src/view/viewed-runs.js';
import { viewRuns } from '../lab/.build/src/view/view-server.js';

const { values } = parseArgs({
  options: {
    attacks: { type: 'string', default: '1000000' },
    compared: { type: 'string', default: '100000' },
    rounds: { type: 'string', default: '5' },
  },
});
const attacks = Number(values.attacks);
const rounds = Number(values.rounds);
/** Half of the attacks are of the training, a tenth is an evaluation; the last stage is trained later. */
const STAGES = [
  ['gflownet', 0.5],
  ['evaluate:gflownet', 0.1],
  ['reinforce', 0.4],
];
const EVALUATION = 'evaluate:gflownet';
const RARE = 'sphinx of black quartz';
const WAYS = 60;
const LABELS = 1000;
const POINTS = 400;

const wayWords = (way) => `lantern of house ${way}x`;

/**
 * One response and two verdicts for each attack. Every tenth attack succeeds, every twentieth holds the cause of a way,
 * every fiftieth success has a category; the rare words, and a rare category, are in the oldest attacks alone.
 */
function fill(path, count) {
  const db = new Database(path);
  const rows = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)';
  const ends = STAGES.map((_, s) => Math.round(count * STAGES.slice(0, s + 1).reduce((sum, [, share]) => sum + share, 0)));
  const stage = `CASE WHEN i <= ${ends[0]} THEN 1 WHEN i <= ${ends[1]} THEN 2 ELSE 3 END`;
  const source = `CASE WHEN i <= ${ends[0]} OR i > ${ends[1]} THEN 'fresh' ELSE 'evaluation' END`;
  const p = '(CASE WHEN i % 10 = 0 THEN 0.9 ELSE 0.1 END)';
  const way = `CASE WHEN i % 20 = 0 THEN ' lantern of house ' || (i / 20 % ${WAYS}) || 'x' ELSE '' END`;
  const note = `CASE WHEN i = 10 THEN 'S4 Child Exploitation' WHEN i % 500 = 0 THEN 'S10 Hate' ELSE 'safe, at P 0.93' END`;
  db.exec('BEGIN');
  db.prepare(`${rows} INSERT INTO attack (id, stage_id, update_index, position, source, ids, text, log_pi, log_p_ref,
    log_reward, mean_unsafe, response_count) SELECT i, ${stage}, i / 64, i % 64, ${source}, '[' || i || ',17,2048,301,9,4,881,72,5,2]',
    'please tell me how people ' || hex(randomblob(24)) || ' in the old town' || ${way}, -31.5, -40.2, -12.3, ${p}, 1 FROM n`).run(count);
  db.prepare(`${rows} INSERT INTO response (id, attack_id, position, text, tokens, truncated)
    SELECT i, i, 0, 'an answer ' || hex(randomblob(40)), 20, 0 FROM n`).run(count);
  for (const judge of ['other', 'trainer'])
    db.prepare(`${rows} INSERT INTO verdict (response_id, judge, masked, unsafe, reason) SELECT i, ?, 0, ${p},
      ${judge === 'other' ? note : 'NULL'} FROM n`).run(count, judge);
  db.prepare('UPDATE attack SET text = ? WHERE id = 5').run(`a ${RARE}`);
  db.exec('COMMIT');
  db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  return { db, evaluated: [ends[0] + 1, ends[1]] };
}

/** The map of a report: the first attacks of the evaluation, and wordings of its successes. */
function writeMap(folder, db, [first, last]) {
  const textOf = db.prepare('SELECT text FROM attack WHERE id = ?').raw();
  const ids = Array.from({ length: Math.min(POINTS, last - first) }, (_, i) => first + i);
  const wordings = Array.from({ length: 30 }, (_, w) => Array.from({ length: 60 }, (_, i) => first + ((POINTS + 10 * (60 * w + i)) % (last - first))));
  const key = (rows) => textsKey(rows.map((id) => textOf.get(id)[0]));
  const points = ids.map((id, i) => ({
    ...{ id, x: Math.cos(i), y: Math.sin(3 * i), isSuccess: id % 10 === 0, wording: null },
    near: ids.slice(0, 5).map((near) => ({ id: near, cosine: 0.5 })),
  }));
  const panel = { stage: 'gflownet', leftOut: 0, textsSha256: key(ids), wordings, wordingsSha256: key(wordings.flat()), points };
  writeFileSync(join(folder, KEPT_MAP), JSON.stringify({ mapVersion: 1, encoder: 'none', shownShare: 0.3, panels: [panel] }));
}

/** Verdicts, wordings, duplicates and names of ways. */
async function label(parent, name, [first, last]) {
  const folder = await openRunFolder(name, parent);
  const at = (i) => first + ((7 * i) % (last - first));
  const each = (count, make) => Array.from({ length: count }, (_, i) => make(i));
  labelRun(folder, [
    ...each(LABELS - 200, (i) => ({ kind: 'verdict', attack: at(i), response: 0, value: at(i) % 10 === 0 ? 'unsafe' : 'safe' })),
    ...each(150, (i) => ({ kind: 'wording', attack: at(i), value: `wording ${i % 20}` })),
    ...each(40, (i) => ({ kind: 'duplicate', attack: at(i) + 1, value: at(i) })),
    ...each(10, (i) => ({ kind: 'way', subject: causeSha256(wayWords(i)), value: `way ${i}` })),
  ]);
}

async function makeRun(parent, name, count, createdMs) {
  const folder = join(parent, name);
  mkdirSync(folder);
  writeFileSync(join(folder, 'config.yaml'), 'authorisation: measured\n');
  const manifest = createManifest({
    ...{ run: name, authorisation: 'measured', createdMs, versions: { floodgate: '0.0.0' }, seed: 1, threads: 1 },
    ...{ devices: { attacker: 'cpu', encoder: 'cpu', target: 'cpu' }, configSha256: 'ab', seedsSha256: 'cd', models: [] },
    ...{ decode: { training: {}, evaluation: {} }, unsafeFloor: 0.01, judges: { training: 'trainer', evaluation: ['other'] } },
  });
  writeFileSync(join(folder, 'manifest.json'), JSON.stringify(manifest));
  const path = join(folder, 'run.db');
  const store = await openStore(path);
  for (const [stage] of STAGES) {
    store.beginStage(stage, count);
    store.endStage(stage, 'done');
  }
  const metrics = [{ name: 'asr', judge: 'other', value: 0.1, low: 0.09, high: 0.11, n: count / 10, method: 'wilson' }];
  store.recordUpdate({ stage: EVALUATION, update: count, attacks: [], metrics });
  store.beginStage('causes:gflownet', 1);
  const way = (i) => ({ cause: wayWords(i), example: `${wayWords(i)} now`, isEcho: false, successes: WAYS - i, searches: 1 });
  const ways = Array.from({ length: WAYS }, (_, i) => way(i));
  recordCauses(store, 'gflownet', { judge: 'other', successes: 9, searched: 9, unstable: 0, unknown: 0, ways });
  store.endStage('causes:gflownet', 'done');
  store.close();
  const { db, evaluated } = fill(path, count);
  writeMap(folder, db, evaluated);
  db.close();
  await label(parent, name, evaluated);
}

const median = (times) => [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)];
const text = (value) => Math.round(value).toLocaleString('en-US');

async function measure(name, ask) {
  const times = [];
  const cpu = [];
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    const used = process.cpuUsage();
    await ask();
    times.push(performance.now() - start);
    const { user, system } = process.cpuUsage(used);
    cpu.push((user + system) / 1000);
  }
  console.log(`| ${name} | ${text(median(times))} | ${text(Math.max(...times))} | ${text(median(cpu))} |`);
}

/** Asks the server as its page does. */
async function openClient(view) {
  const [base, token] = view.url.split('/#token=');
  const body = JSON.stringify({ token });
  const begun = await fetch(`${base}/api/session`, { method: 'POST', body, headers: { origin: base } });
  const cookie = begun.headers.get('set-cookie').split(';')[0];
  const get = async (path) => {
    const answer = await fetch(`${base}/api${path}`, { headers: { cookie } });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  /** All pages of a search until one is full or there are no more; as many attacks as are expected. */
  const search = async (query, least, most = least) => {
    let [found, before] = [0, ''];
    for (;;) {
      const page = await get(`/runs/large/attacks?${query}&before=${before}&limit=${50 - found}`);
      found += page.attacks.length;
      if (page.isFull || page.next === null) break;
      before = page.next;
    }
    if (found < least || found > most) throw new Error(`${query}: got ${found} attacks, expected ${least} to ${most}`);
  };
  return { get, search };
}

async function measurePages({ get, search }) {
  const run = '/runs/large';
  await measure('list of runs', () => get('/runs'));
  await measure('overview of the run', () => get(run));
  await measure('curves of the run', () => get(`${run}/curves`));
  await measure('first page', () => get(`${run}/attacks`));
  await measure('a page in the middle', () => get(`${run}/attacks?before=${Math.floor(attacks / 2)}`));
  await measure('search, common words', () => search('search=OLD+town', 50));
  await measure('search, one match at the very end', () => search(`search=${RARE.replaceAll(' ', '+')}`, 1));
  await measure('search, no match', () => search('search=no+such+words', 0));
  await measure('topics of the run', () => get(`${run}/topics`));
  await measure('an attack with its answers', () => get(`${run}/attacks/${Math.floor(attacks * 0.55)}`));
  await measure('an attack beside others', () => get(`${run}/attacks/${Math.floor(attacks * 0.55)}/related`));
  await measure('an attack of the map beside others', () => get(`${run}/attacks/${Math.floor(attacks * 0.5) + 10}/related`));
  await measure('the map', () => get(`${run}/map`));
  await measure('list of labels', () => get(`${run}/labels`));
  await measure('next answer of the sample', () => get(`${run}/sample`));
}

async function measureFilters({ get, search }) {
  const { causes } = await get('/runs/large/topics');
  const filters = [
    ['stage, the newest', 'stage=reinforce', 50],
    ['stage, the oldest', 'stage=gflownet', 50],
    ['source, the evaluation', 'source=evaluation', 50],
    ['source, no match', 'source=seed', 0],
    ['verdict, successes', 'outcome=success', 50],
    ['verdict, no match', 'outcome=unscored', 0],
    ['verdict by a judge', 'outcome=success&judge=other', 50],
    ['verdict by a judge, no match', 'outcome=unscored&judge=other', 0],
    ['way', `cause=${causes[0].subject}`, 50],
    ['way, its failures (no match)', `cause=${causes[1].subject}&outcome=failure`, 0],
    ['category, common', 'category=hate', 50],
    ['category, one match at the very end', 'category=child-exploitation', 1],
    ['category, no match', 'category=violent-crimes', 0],
    ['wording of the report', 'group=gflownet/1', 50],
    ['wording of the report, no match', 'group=gflownet/1&stage=reinforce', 0],
    ['named wording', 'wording=wording+3', 7, 8],
    ['category, judge, verdict, stage and words', 'category=hate&judge=other&outcome=success&stage=gflownet&search=town', 50],
  ];
  for (const [name, query, least, most] of filters) await measure(`filter: ${name}`, () => search(query, least, most));
}

/** Two runs are compared; what an answer to another page takes meanwhile. */
async function measureCompare({ get }) {
  const start = performance.now();
  let isDone = false;
  const pages = measurePagesUntil(get, () => isDone);
  while (!isDone) ({ isDone } = await get('/compare?run=before&run=after'));
  const took = performance.now() - start;
  const times = await pages;
  console.log(`| comparison of two runs of ${text(Number(values.compared))} attacks, once | ${text(took)} | – | – |`);
  console.log(`| first page, while they are compared (${text(times.length)} times) | ${text(median(times))} | ${text(Math.max(...times))} | – |`);
  await measure('the same comparison again', () => get('/compare?run=before&run=after'));
}

async function measurePagesUntil(get, isDone) {
  const times = [];
  while (!isDone()) {
    const start = performance.now();
    await get('/runs/large/attacks');
    times.push(performance.now() - start);
  }
  return times;
}

const folder = mkdtempSync(join(tmpdir(), 'floodgate-measure-view-'));
try {
  const start = performance.now();
  await makeRun(folder, 'large', attacks, 0);
  for (const [i, name] of ['before', 'after'].entries()) await makeRun(folder, name, Number(values.compared), i + 1);
  console.error(`made in ${text((performance.now() - start) / 1000)} s`);
  const view = await viewRuns(await openViewedRuns([], folder), { port: 0, log: console.error });
  const client = await openClient(view);
  console.log('| question | median, ms | slowest, ms | processor, ms |\n|---|---|---|---|');
  await measurePages(client);
  await measureFilters(client);
  await measureCompare(client);
  await view.close();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
