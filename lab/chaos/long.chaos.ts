import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { randomStream } from '../../src/base/random.ts';
import { openCallLog } from '../../src/runs/store/call-log.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import {
  type CampaignPlace,
  type CampaignProcess,
  type Outcome,
  startProcess,
} from '../../test/stages/campaign-process.ts';
import { createTinyCampaign, placeOfTiny, type TinyCampaign } from '../../test/stages/tiny-campaign.ts';
import { builtProgram } from '../../test/support/compiled-source.ts';
import { type ChaosServer, chaosDigest, startChaosServer } from '../../test/trial/chaos-server.ts';
import { chaosPass, chaosTarget, expectWhole, type Pass, RESPONSES, sumOf } from '../../test/trial/chaos-work.ts';

/** `CHAOS_ATTACKS`, `CHAOS_KILLS` and `CHAOS_SEED` change them. */
const ATTACKS = Number(process.env.CHAOS_ATTACKS ?? 2000);
const KILLS = Number(process.env.CHAOS_KILLS ?? 20);
const SEED = Number(process.env.CHAOS_SEED ?? 1);
const GIB = 2 ** 30;
const SHARE = 0.3;
const CONCURRENCY = 32;

const say = (line: string): void => void process.stderr.write(`${line}\n`);
const megabytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MB`;

/** The checks before a run are harmless, and not what is measured here. */
const CHECKS = /^(?:Say hello|Which day|Name three|What is the role)/;

let server: ChaosServer;
let folder: string;
let tiny: TinyCampaign;

beforeAll(async () => {
  tiny = await createTinyCampaign();
});
afterAll(async () => {
  await tiny?.remove();
});
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'floodgate-chaos-'));
  server = await startChaosServer(SHARE, SEED, (prompt) => CHECKS.test(prompt));
});
afterEach(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

function textsOf({ evidence = [] }: Pass): number {
  return evidence.flatMap(({ responses }) => responses.filter(({ refused }) => refused === undefined)).length;
}

function sayFaults(): void {
  const faults = [...server.faults].map(([name, count]) => `${name} ${count}`).join(', ');
  say(`faults: ${sumOf(server.faults)} (${faults})`);
}

describe(`${ATTACKS} attacks with ${RESPONSES} responses each, a fault in 3 of 10 requests`, () => {
  // An adaptive bound falls at every 429, whether the server has too much to do or not: a tenth of the attacks will do.
  test.each([
    [CONCURRENCY, ATTACKS],
    ['auto', Math.ceil(ATTACKS / 10)],
  ] as const)('in one process, concurrency %s, %i attacks', async (concurrency, attacks) => {
    const started = performance.now();
    const pass = await chaosPass({ server, path: join(folder, 'calls.db'), attacks }, {}, concurrency);
    const seconds = (performance.now() - started) / 1000;
    sayFaults();
    say(
      `RESULT whole, concurrency ${concurrency}: ${pass.kept} answers, ${pass.failures.length} failed, ` +
        `${sumOf(server.delivered) - textsOf(pass)} delivered and lost, ${pass.paid} calls paid, ` +
        `${megabytes(pass.peakBytes)} above the start, ${seconds.toFixed(0)} s`,
    );
    expectWhole(pass, attacks);
    expect(pass.paid).toBe(RESPONSES * attacks);
    expect(pass.peakBytes).toBeLessThan(GIB);
  });

  test('with the budget running out in between', async () => {
    const work = { server, path: join(folder, 'calls.db'), attacks: ATTACKS };
    const caps = [0.2, 0.5, 0.8].map((share) => Math.round(share * RESPONSES * ATTACKS));
    let failed = 0;
    for (const targetCalls of caps) {
      const stopped = await chaosPass(work, { targetCalls }, CONCURRENCY);
      failed = stopped.failures.length;
      say(`stopped at ${stopped.paid} of ${targetCalls} calls: ${stopped.kept} answers, ${failed} failed`);
      expect(stopped.evidence).toBeUndefined();
      expect(stopped.paid).toBeLessThanOrEqual(targetCalls);
      expect(stopped.paid).toBeGreaterThan(targetCalls - RESPONSES);
    }
    const pass = await chaosPass(work, {}, CONCURRENCY);
    sayFaults();
    say(`RESULT budget: ${pass.kept} answers, ${pass.failures.length} failed, ${pass.paid} calls paid`);
    expectWhole(pass, ATTACKS);
  });
});

/** The attacks of the run's evaluation, as its database has them at the end. */
async function readRun(runFolder: string) {
  const store = await openStore(join(runFolder, 'run.db'), { readOnly: true });
  const stage = 'evaluate:sft';
  const attacks = store.attacks({ stage });
  const rows = attacks.map(({ id, text }) => ({ text, responses: store.responses(id) }));
  const { targetCalls } = store.cost(stage);
  store.close();
  const log = openCallLog(join(runFolder, 'calls.db'));
  const { size, spent } = log;
  const failures = log.failures().length;
  log.close();
  return { rows, targetCalls, kept: size, failures, paid: spent.targetCalls };
}

async function peakOf({ child }: CampaignProcess): Promise<number> {
  const status = await readFile(`/proc/${child.pid}/status`, 'utf8').catch(() => '');
  return 1024 * Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0);
}

/** Waits until the process asks its first attacks, lets it work, and kills it. */
async function killAfter(run: CampaignProcess, ms: number): Promise<Outcome> {
  const isAsking = (): boolean => run.sections.some(({ label }) => label === 'evaluate:sft');
  while (!isAsking() && run.child.exitCode === null)
    await Promise.race([new Promise((resolve) => setTimeout(resolve, 10)), run.outcome]);
  await Promise.race([new Promise((resolve) => setTimeout(resolve, ms)), run.outcome]);
  run.kill('SIGKILL');
  return run.outcome;
}

describe(`a run of ${ATTACKS} attacks with ${RESPONSES} responses each, killed ${KILLS} times`, () => {
  test('ends with every answer once', async () => {
    const place: CampaignPlace = placeOfTiny(tiny, builtProgram());
    const runFolder = join(place.runsFolder, 'killed');
    const target = { ...chaosTarget(server, CONCURRENCY, 1.5), checkAnswers: false };
    const sets = [
      `target=${JSON.stringify(target)}`,
      'attackers=[sft]',
      'sft={updates: 2, batchSize: 8, warmupUpdates: 0}',
      `evaluation={attacks: ${ATTACKS}, responses: ${RESPONSES}, controls: 0, causes: {clusters: 0}}`,
    ].flatMap((override) => ['--set', override]);
    const begin = ['run', place.configFile, '--name', 'killed', ...sets];
    const goOn = () => startProcess(place, existsSync(runFolder) ? ['resume', runFolder] : begin);
    const stream = randomStream(SEED, 'chaos kills');
    const started = performance.now();
    let kills = 0;
    let peak = 0;
    while (kills < KILLS) {
      const run = goOn();
      const watch = setInterval(async () => {
        peak = Math.max(peak, await peakOf(run));
      }, 200);
      const { signal, code, stderr } = await killAfter(run, stream.nextFloat() * 4000);
      clearInterval(watch);
      if (signal === 'SIGKILL') kills++;
      else expect(code, stderr).toBe(0);
      if (signal !== 'SIGKILL') break;
    }
    const { code, stderr } = await goOn().outcome;
    expect(code, stderr).toBe(0);
    const { rows, targetCalls, kept, failures, paid } = await readRun(runFolder);
    const stored = rows.flatMap(({ responses }) => responses);
    const texts = stored.filter(({ refused }) => refused === undefined);
    sayFaults();
    say(
      `RESULT kills: ${kills} kills in ${((performance.now() - started) / 1000).toFixed(0)} s; ${stored.length} answers ` +
        `stored, ${kept} kept, ${failures} failed, cost ${targetCalls} calls, ${paid} paid, ` +
        `${sumOf(server.delivered) - texts.length} delivered and lost, peak ${megabytes(peak)} of the whole process`,
    );
    expect(rows).toHaveLength(ATTACKS);
    expect(targetCalls).toBe(RESPONSES * ATTACKS);
    expect(stored.length + failures).toBe(RESPONSES * ATTACKS);
    expect(stored.length).toBe(kept);
    for (const { text, responses } of rows) {
      for (const { text: answer, refused, verdicts } of responses) {
        expect(verdicts).toHaveLength(4); // two judges, each also with the attack's words masked
        if (refused === undefined) expect(answer).toContain(chaosDigest(text));
      }
    }
    // Nothing is asked twice but what failed, and what was under way at a kill.
    expect(sumOf(server.delivered) - texts.length).toBeLessThanOrEqual((kills + 1) * CONCURRENCY * RESPONSES);
    expect(kills).toBe(KILLS);
  });
});
