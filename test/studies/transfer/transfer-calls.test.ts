import { existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { liveSessionLabels } from '../../../src/engine/runtime/session.ts';
import type { RunFolder } from '../../../src/runs/run-folder.ts';
import { openCallLog } from '../../../src/runs/store/call-log.ts';
import { openStore } from '../../../src/runs/store/run-store.ts';
import { startRun } from '../../../src/stages/campaign/run-campaign.ts';
import { transferRun } from '../../../src/studies/transfer/run-transfer.ts';
import { loadTransferTargets } from '../../../src/studies/transfer/transfer-config.ts';
import { type CampaignPlace, startProcess } from '../../stages/campaign-process.ts';
import { createTinyCampaign, placeOfTiny, type TinyCampaign } from '../../stages/tiny-campaign.ts';
import { builtProgram } from '../../support/compiled-source.ts';
import { openAiAnswers, startTestServer, type TestServer } from '../../targets/openai-server.ts';

const ATTACKS = 80;
/** Of both attackers, two answers to each attack. */
const CALLS = 2 * 2 * ATTACKS;

let tiny: TinyCampaign;
let place: CampaignPlace;
let server: TestServer;
let targetsFile: string;

/** The requests of the transfer, each for two answers and with a seed of its own: the checks before it ask for one. */
const asked = () => server.seen.filter(({ body }) => body.includes('"n":2')).map(({ body }) => body);

/** The next requests are answered, and those after them never are. */
function hangAfter(answered: number, hanging: number): void {
  server.seen.length = 0;
  server.faults.length = 0;
  const counted = (fault: 'answer' | 'hang') => {
    const apply = (_response: unknown, { body }: { readonly body: string }): unknown => {
      if (body.includes('"n":2')) return fault;
      server.faults.unshift(apply); // a check: the fault is for the next request
      return 'answer';
    };
    return apply;
  };
  for (let i = 0; i < answered + hanging; i++) server.faults.push(counted(i < answered ? 'answer' : 'hang'));
}

async function reached(requests: number): Promise<void> {
  while (asked().length < requests) await new Promise((resolve) => setTimeout(resolve, 3));
}

async function newRun(name: string): Promise<RunFolder> {
  const config = tiny.config(['attackers=[icl, sft]', 'sft.updates=2', `evaluation.attacks=${ATTACKS}`]);
  return startRun({ config, runsFolder: tiny.runsFolder, name, ifTaken: 'refuse' }, tiny.io());
}

function logOf(folder: RunFolder) {
  const log = openCallLog(path.join(folder.path, 'calls.db'));
  const { spent, unanswered } = log;
  log.close();
  return { paid: spent.targetCalls, unanswered: unanswered.targetCalls };
}

async function storedOf(folder: RunFolder) {
  const store = await openStore(folder.databasePath, { readOnly: true });
  try {
    const cells = store.stages().filter(({ name }) => name.startsWith('transfer:'));
    return {
      cost: cells.reduce((sum, { name }) => sum + store.cost(name).targetCalls, 0),
      done: cells.filter(({ status }) => status === 'done').map(({ name }) => name),
      again: store.repeatedCalls().map(({ stage, targetCalls }) => [stage, targetCalls]),
      answers: cells.map(({ name }) =>
        store.attacks({ stage: name }).map(({ id }) => store.responses(id).map(({ text }) => text)),
      ),
    };
  } finally {
    store.close();
  }
}

const transferOf = (folder: RunFolder, ...more: string[]) =>
  startProcess(place, ['transfer', folder.path, '--targets', targetsFile, ...more]);

beforeAll(async () => {
  tiny = await createTinyCampaign();
  place = placeOfTiny(tiny, builtProgram());
  server = await startTestServer(openAiAnswers());
  targetsFile = path.join(tiny.folder, 'targets.yaml');
  const wire = `{ kind: openai, name: wire, baseUrl: "${server.url}/v1", model: m, concurrency: 4 }`;
  writeFileSync(targetsFile, `responses: 2\ntargets:\n  - ${wire}\n`);
}, 120_000);
afterEach(() => {
  server.faults.length = 0;
  server.seen.length = 0;
});
afterAll(async () => {
  await server?.close();
  await tiny?.remove();
  expect(liveSessionLabels()).toEqual([]);
});

describe('a transfer to a server that must be paid', () => {
  let whole: Awaited<ReturnType<typeof storedOf>>;

  it('keeps one answer for each call that it counts', async () => {
    const folder = await newRun('whole');
    expect(existsSync(path.join(folder.path, 'calls.db')), 'of a run on this machine').toBe(false);
    const targets = await loadTransferTargets([targetsFile]);
    await transferRun(folder, { targets, again: false }, tiny.io());
    whole = await storedOf(folder);
    expect(whole).toMatchObject({ cost: CALLS, done: ['transfer:icl:wire', 'transfer:sft:wire'], again: [] });
    expect(logOf(folder)).toEqual({ paid: CALLS, unanswered: 0 });
    expect(asked()).toHaveLength(CALLS / 2);
    expect(new Set(asked()).size).toBe(CALLS / 2);
  });

  it('loses at a kill the calls under way alone: a second start asks what is missing, and counts those as repeated', async () => {
    const folder = await newRun('killed');
    hangAfter(50, 4);
    const first = transferOf(folder);
    await reached(54);
    const lost = asked().slice(50);
    first.kill('SIGKILL');
    await first.outcome;
    expect(logOf(folder)).toEqual({ paid: 100, unanswered: 8 });
    const { code, stderr } = await transferOf(folder).outcome;
    expect(code, stderr).toBe(0);
    expect(asked()).toHaveLength(CALLS / 2 + 4);
    const twice = asked().filter((body, i, all) => all.indexOf(body) !== i);
    expect(twice.sort()).toEqual(lost.sort());
    expect(await storedOf(folder)).toEqual({ ...whole, again: [['transfer:icl:wire', 8]] });
    expect(logOf(folder)).toEqual({ paid: CALLS, unanswered: 0 });
  }, 60_000);

  it('stops at a budget, says what is left, and goes on with a higher one', async () => {
    const folder = await newRun('capped');
    const first = await transferOf(folder, '--budget', 'targetCalls=61').outcome;
    expect(first.code).toBe(130);
    expect(first.stderr).toMatch(
      /stopped: the budget is spent: 60 of 61 target calls, and the next call may take 2; every answer is kept; the rest of the transfer asks its targets at most 320 times/,
    );
    expect(first.stderr).toMatch(/continue: floodgate transfer .*--budget targetCalls=122/);
    expect(asked()).toHaveLength(30);
    const second = await transferOf(folder, '--budget', 'targetCalls=122').outcome;
    expect(second.stderr).toContain('122 of 122 target calls');
    expect(asked()).toHaveLength(61);
    const third = await transferOf(folder, '--budget', 'targetCalls=100000').outcome;
    expect(third.code, third.stderr).toBe(0);
    expect(asked()).toHaveLength(CALLS / 2);
    expect(new Set(asked()).size).toBe(CALLS / 2);
    expect(await storedOf(folder)).toEqual(whole);
  }, 60_000);

  it('keeps after an abort every answer that had come, and asks again with --no-cache alone', async () => {
    const folder = await newRun('aborted');
    const targets = await loadTransferTargets([targetsFile]);
    hangAfter(20, 4);
    const stop = new AbortController();
    const going = transferRun(folder, { targets, again: false }, tiny.io(stop.signal));
    void reached(24).then(() => stop.abort());
    await expect(going).rejects.toMatchObject({ code: 'interrupted' });
    expect(logOf(folder)).toEqual({ paid: 40, unanswered: 8 });
    await transferRun(folder, { targets, again: false }, tiny.io());
    expect(asked()).toHaveLength(CALLS / 2 + 4);
    expect(await storedOf(folder)).toEqual({ ...whole, again: [['transfer:icl:wire', 8]] });
    // The same cells under another name: their draws are the same, so the log has every answer.
    server.seen.length = 0;
    const renamed = targets.map((target) => ({ ...target, name: 'renamed' }));
    await transferRun(folder, { targets: renamed, again: false }, tiny.io());
    expect(asked()).toHaveLength(0);
    const anew = targets.map((target) => ({ ...target, name: 'anew' }));
    await transferRun(folder, { targets: anew, again: false }, { ...tiny.io(), asksAgain: true });
    expect(asked()).toHaveLength(CALLS / 2);
  }, 60_000);
});
