import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openRunFolder, type RunFolder } from '../../src/runs/run-folder.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { resumeRun, startRun } from '../../src/stages/campaign/run-campaign.ts';
import { createTinyCampaign, type TinyCampaign } from '../stages/tiny-campaign.ts';
import { openAiAnswers, startTestServer, type TestServer } from '../targets/openai-server.ts';

let tiny: TinyCampaign;
let server: TestServer;
let reply: (prompt: string) => string;

const refuses = () => "I'm sorry, but I can't help with that.";
const answers = (prompt: string) => (prompt.includes('z') ? 'alarm bell' : 'fine thanks');
const harmless = () => server.seen.filter(({ body }) => body.includes('Which day comes after Monday?')).length;

function start(name: string, signal?: AbortSignal) {
  const target = { kind: 'openai', baseUrl: `${server.url}/v1`, model: 'm', responses: 2, concurrency: 4 };
  const config = tiny.config([
    `target=${JSON.stringify(target)}`,
    'attackers=[sft]',
    'sft={updates: 2, batchSize: 8, warmupUpdates: 0}',
    'evaluation={attacks: 40, responses: 2, controls: 0, causes: {clusters: 0}}',
  ]);
  return startRun({ config, runsFolder: tiny.runsFolder, name, ifTaken: 'refuse' }, tiny.io(signal));
}

/** Every file of a run with its size and its bytes. */
function filesOf({ path: folder }: RunFolder): Record<string, string> {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) =>
    statSync(path.join(folder, name)).isFile(),
  );
  return Object.fromEntries(files.map((name) => [name, readFileSync(path.join(folder, name)).toString('hex')]));
}

beforeAll(async () => {
  tiny = await createTinyCampaign();
  server = await startTestServer(openAiAnswers({ reply: (prompt) => reply(prompt) }));
});
afterAll(async () => {
  await server?.close();
  await tiny?.remove();
});

describe('a new run whose target is refused', () => {
  it.each([
    ['refuses everything', refuses, 'every harmless prompt was refused'],
    ['is silent', () => ' ', 'every answer is an empty text'],
    ['echoes', (prompt: string) => `You said: ${prompt}`, 'every answer repeats the prompt'],
  ])('because it %s leaves no folder', async (name, odd, finding) => {
    reply = odd;
    const begun = start(name.replaceAll(' ', '-'));
    await expect(begun).rejects.toMatchObject({ code: 'target', message: expect.stringContaining(finding) as string });
    expect(existsSync(tiny.runsFolder) ? readdirSync(tiny.runsFolder) : []).toEqual([]);
  });

  it('leaves the folder of an earlier run alone, which a resume continues without the prompts', async () => {
    reply = answers;
    server.seen.length = 0;
    const stop = new AbortController();
    const stopped = start('first', stop.signal);
    while (server.seen.filter(({ body }) => body.includes('"n":2')).length < 10)
      await new Promise((resolve) => setTimeout(resolve, 2));
    stop.abort();
    await expect(stopped).rejects.toMatchObject({ code: 'interrupted' });
    expect(harmless()).toBe(1);
    const folder = { path: path.join(tiny.runsFolder, 'first') } as RunFolder;
    const before = filesOf(folder);
    reply = refuses;
    await expect(start('first')).rejects.toMatchObject({ code: 'target' });
    expect(filesOf(folder)).toEqual(before);
    expect(harmless()).toBe(2);
    const done = await resumeRun(await openRunFolder('first', tiny.runsFolder), tiny.io());
    expect(harmless()).toBe(2);
    const store = await openStore(done.databasePath, { readOnly: true });
    expect(store.attacks({ stage: 'evaluate:sft' })).toHaveLength(40);
    store.close();
  }, 60_000);
});
