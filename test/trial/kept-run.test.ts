import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCallLog } from '../../src/runs/store/call-log.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import {
  type CampaignPlace,
  type CampaignProcess,
  resumeProcess,
  startProcess,
  startRunProcess,
} from '../stages/campaign-process.ts';
import { contentDifferences, readRunContent } from '../stages/run-content.ts';
import { createTinyCampaign, placeOfTiny, type TinyCampaign } from '../stages/tiny-campaign.ts';
import { builtProgram } from '../support/compiled-source.ts';
import { openAiAnswers, startTestServer, type TestServer } from '../targets/openai-server.ts';

/** A key like no other text: whatever holds it, has leaked it. */
const KEY = 'fg-kept-key-51c0d7aa';
const ENV = { FLOODGATE_TEST_KEPT_KEY: KEY };

let tiny: TinyCampaign;
let server: TestServer;
let place: CampaignPlace;

/** Requests that the run itself made, each for two answers: the checks before it ask for one. */
const asked = () => server.seen.filter(({ body }) => body.includes('"n":2')).length;

/** Waits until the server has answered so many requests since it was last cleared. */
async function reached(run: CampaignProcess, requests: number): Promise<void> {
  while (asked() < requests && run.child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 3));
}

function spentIn(name: string) {
  const log = openCallLog(path.join(place.runsFolder, name, 'calls.db'));
  const { spent } = log;
  log.close();
  return spent;
}

async function costsOf(name: string) {
  const store = await openStore(path.join(place.runsFolder, name, 'run.db'), { readOnly: true });
  const sum = store.stages().reduce((total, stage) => total + store.cost(stage.name).targetCalls, 0);
  const again = store.repeatedCalls().reduce((total, { targetCalls }) => total + targetCalls, 0);
  const events = store.events();
  store.close();
  return { sum, again, events };
}

beforeAll(async () => {
  tiny = await createTinyCampaign();
  server = await startTestServer(
    openAiAnswers({ key: KEY, reply: (prompt) => (prompt.includes('z') ? 'alarm bell' : 'fine thanks') }),
  );
  const target = { kind: 'openai', baseUrl: `${server.url}/v1`, model: 'm', responses: 2, concurrency: 4 };
  const overrides = [
    `target=${JSON.stringify({ ...target, apiKeyEnv: 'FLOODGATE_TEST_KEPT_KEY' })}`,
    'attackers=[gflownet]',
    'gflownet={updates: 20, batchSize: 16, accumulation: 1, checkpointEveryUpdates: 6, warmupUpdates: 2}',
    'watch={everyUpdates: 7, attacks: 16}',
  ];
  place = { ...placeOfTiny(tiny, builtProgram()), overrides };
});
afterAll(async () => {
  await server?.close();
  await tiny?.remove();
});

describe('a run against a server that must be paid', () => {
  let calls = 0;
  it('keeps one answer for each call that it counts', async () => {
    server.seen.length = 0;
    const { code, stderr } = await startRunProcess(place, 'whole', { env: ENV }).outcome;
    expect(code, stderr).toBe(0);
    calls = spentIn('whole').targetCalls;
    const { sum, again, events } = await costsOf('whole');
    expect([sum, again]).toEqual([calls, 0]);
    expect(events.filter((event) => event.code === 'kept-answers')).toEqual([]);
    expect(calls).toBe(2 * asked());
  });

  it('asks after kill -9 and Ctrl-C only what is missing, and ends the same', async () => {
    server.seen.length = 0;
    const first = startRunProcess(place, 'killed', { env: ENV });
    await reached(first, 150);
    first.kill('SIGKILL');
    await first.outcome;
    const second = resumeProcess(place, 'killed', { env: ENV });
    await reached(second, 300);
    second.kill('SIGINT');
    expect((await second.outcome).code).toBe(130);
    const third = await resumeProcess(place, 'killed', { env: ENV }).outcome;
    expect(third.code, third.stderr).toBe(0);
    const whole = readRunContent(path.join(place.runsFolder, 'whole'));
    expect(contentDifferences(whole, readRunContent(path.join(place.runsFolder, 'killed')))).toEqual([]);
    // At most the four requests under way are lost at each stop; the log holds every other one once.
    expect(asked() - calls / 2).toBeGreaterThanOrEqual(0);
    expect(asked() - calls / 2).toBeLessThanOrEqual(8);
    expect(spentIn('killed').targetCalls).toBe(calls);
    const { sum, again, events } = await costsOf('killed');
    expect(sum).toBe(calls);
    // Every request that the server saw twice is counted; the last ones before a kill may not have reached it.
    expect(again).toBeGreaterThanOrEqual(2 * asked() - calls);
    expect(again).toBeLessThanOrEqual(16);
    expect(events.find((event) => event.code === 'kept-answers')?.message).toMatch(
      /^\d+ answers came from the log of this run, \d+ new ones were asked for; \d+ target calls were paid for/,
    );
  });

  it('stops at a budget, says what is left and how to go on, and ends the same with a higher one', async () => {
    server.seen.length = 0;
    const sets = place.overrides.flatMap((override) => ['--set', override]);
    const words = ['run', place.configFile, '--name', 'capped', '--budget', 'targetCalls=333', ...sets];
    const first = await startProcess(place, words, { env: ENV }).outcome;
    expect(first.code).toBe(130);
    expect(first.stderr).toMatch(
      /stopped: the budget is spent: 332 of 333 target calls, and the next call may take 2; every answer is kept; the rest of the run asks the target at most [\d,]+ times/,
    );
    expect(first.stderr).toMatch(/continue: floodgate resume capped .*--budget targetCalls=666/);
    expect(spentIn('capped').targetCalls).toBe(332);
    expect(asked()).toBe(332 / 2);
    const still = await resumeProcess(place, 'capped', { env: ENV }).outcome;
    expect(still.code).toBe(130);
    expect(spentIn('capped').targetCalls).toBe(332);
    const resumed = ['resume', path.join(place.runsFolder, 'capped'), '--budget', 'targetCalls=100000'];
    const last = await startProcess(place, resumed, { env: ENV }).outcome;
    expect(last.code, last.stderr).toBe(0);
    expect(spentIn('capped').targetCalls).toBe(calls);
    expect(asked()).toBe(calls / 2);
    expect((await costsOf('capped')).again, 'no call was under way when the budget was spent').toBe(0);
    const whole = readRunContent(path.join(place.runsFolder, 'whole'));
    const content = readRunContent(path.join(place.runsFolder, 'capped'));
    expect(contentDifferences(whole, content)).toEqual([]);
    for (const { stderr } of [first, still, last]) expect(stderr).not.toContain(KEY);
  });

  it('leaves its key in no file of the run, and in no output', async () => {
    const wrong = await resumeProcess(place, 'whole', { env: { FLOODGATE_TEST_KEPT_KEY: `${KEY}-wrong` } }).outcome;
    expect(wrong.stderr).toContain('401'); // the server echoes the key in its error
    expect(wrong.stderr).toContain('[redacted]');
    expect(wrong.stderr).not.toContain(KEY);
    const files = readdirSync(place.runsFolder, { recursive: true, encoding: 'utf8' })
      .map((name) => path.join(place.runsFolder, name))
      .filter((file) => statSync(file).isFile());
    expect(files.filter((file) => file.endsWith('calls.db'))).toHaveLength(3);
    expect(files.filter((file) => readFileSync(file).includes(KEY))).toEqual([]);
  });

  it('measures again from the log at no cost, and asks again with --no-cache', async () => {
    const evaluate = (...words: string[]) => {
      server.seen.length = 0;
      const run = path.join(place.runsFolder, 'whole');
      return startProcess(place, ['evaluate', run, '--stage', 'gflownet', '--replace', ...words], { env: ENV }).outcome;
    };
    const before = spentIn('whole').targetCalls;
    expect((await evaluate()).code).toBe(0);
    expect(asked()).toBe(0);
    expect(spentIn('whole').targetCalls).toBe(before);
    expect((await costsOf('whole')).again).toBe(0);
    expect((await evaluate('--no-cache')).code).toBe(0);
    expect(asked()).toBe(96);
    expect(spentIn('whole').targetCalls).toBe(before + 192);
    expect((await costsOf('whole')).again).toBe(192);
  });

  it('uses the answers of other runs in the folder where that is asked for, and says so', async () => {
    server.seen.length = 0;
    const words = ['run', place.configFile, ...place.overrides.flatMap((override) => ['--set', override])];
    const again = await startProcess(place, [...words, '--name', 'again'], { env: ENV }).outcome;
    expect(again.code, again.stderr).toBe(0);
    expect(asked(), 'an app may have changed: each run asks anew').toBe(calls / 2);
    server.seen.length = 0;
    writeFileSync(path.join(place.runsFolder, 'capped', 'calls.db'), 'damaged: the other runs have each answer');
    const sharing = [...words, '--name', 'sharing', '--set', 'sharedAnswers=true', '--budget', 'targetCalls=2'];
    const shared = await startProcess(place, sharing, { env: ENV }).outcome;
    expect(shared.code, shared.stderr).toBe(0);
    expect(asked()).toBe(0);
    expect(spentIn('sharing').targetCalls).toBe(0);
    const { sum, events } = await costsOf('sharing');
    expect(sum, 'the cost of the evidence, whoever paid').toBe(calls);
    expect(events.find(({ code }) => code === 'kept-answers')?.message).toContain(
      `0 target calls were paid for since the run began; ${calls} answers and verdicts of other runs in this folder`,
    );
    const own = readRunContent(path.join(place.runsFolder, 'again'));
    expect(contentDifferences(own, readRunContent(path.join(place.runsFolder, 'sharing')))).toEqual([]);
  });
});
