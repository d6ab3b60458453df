import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { redactSecrets } from '../../src/base/errors.ts';
import { type ReportedRun, resumeCampaign, runCampaign, transferCampaign } from '../../src/report/campaigns.ts';
import { transferCell } from '../../src/report/figures/transfer-report.ts';
import { readManifest } from '../../src/runs/manifest.ts';
import { openRunFolder } from '../../src/runs/run-folder.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { planRun } from '../../src/stages/campaign/plan-run.ts';
import { nameTargets, parseTargetsFile } from '../../src/studies/transfer/transfer-config.ts';
import { createTinyCampaign, type TinyCampaign } from '../stages/tiny-campaign.ts';
import { openAiAnswers, startTestServer, type TestServer } from './openai-server.ts';

/** A key like no other text: whatever holds it, has leaked it. */
const KEY = 'fg-run-key-7f1c9a2b';

function filesUnder(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile());
}

describe('a campaign against an OpenAI-compatible server', () => {
  let tiny: TinyCampaign;
  let server: TestServer;
  let run: ReportedRun;
  let overrides: string[];

  beforeAll(async () => {
    process.env.FLOODGATE_TEST_RUN_KEY = KEY;
    tiny = await createTinyCampaign();
    // The server echoes its key in some answers, as a careless one does in its errors.
    const reply = (prompt: string) => (prompt.includes('z') ? 'alarm bell' : `fine thanks ${KEY}`);
    server = await startTestServer(openAiAnswers({ key: KEY, reply }));
    const target = { kind: 'openai', baseUrl: `${server.url}/v1`, model: 'm', responses: 2, retries: 1 };
    overrides = [`target=${JSON.stringify({ ...target, apiKeyEnv: 'FLOODGATE_TEST_RUN_KEY' })}`];
    const config = tiny.config(overrides);
    run = await runCampaign({ config, runsFolder: tiny.runsFolder, name: 'wire', ifTaken: 'refuse' }, tiny.io());
  });
  afterAll(async () => {
    await server.close();
    await tiny.remove();
    delete process.env.FLOODGATE_TEST_RUN_KEY;
  });

  it('learns and measures as against any other target', () => {
    const asr = (stage: string) => run.report.stages.find(({ name }) => name === stage)?.metrics.asr?.value as number;
    expect(asr('gflownet')).toBeGreaterThan(asr('sft') + 0.3);
    expect(server.seen.length).toBeGreaterThan(900);
  });

  it('tells once that the tokens are estimated, where the server counts none', async () => {
    const plain = await startTestServer(openAiAnswers({ hasUsage: false }));
    const target = { kind: 'openai', baseUrl: `${plain.url}/v1`, model: 'm', responses: 2 };
    const short = ['attackers=[sft]', 'sft.updates=2', 'evaluation.attacks=8', `target=${JSON.stringify(target)}`];
    const options = { runsFolder: tiny.runsFolder, name: 'estimated', ifTaken: 'refuse' } as const;
    const { folder } = await runCampaign({ config: tiny.config(short), ...options }, tiny.io());
    await resumeCampaign(folder, tiny.io());
    await plain.close();
    const store = await openStore(folder.databasePath, { readOnly: true });
    const warnings = store.events().filter(({ code }) => code === 'target');
    store.close();
    expect(warnings.map(({ message }) => message)).toEqual([
      'target m: its server counts no tokens: they are estimated from the text',
    ]);
  });

  it('names the model and its host in the manifest', async () => {
    const { models } = await readManifest(run.folder.manifestPath);
    expect(models.find(({ role }) => role === 'target')?.spec).toBe(`m at ${server.host}`);
  });

  it('names a module by the hash of its file', async () => {
    const file = join(tiny.folder, 'own.mjs');
    await writeFile(file, 'export default () => "fine thanks";');
    const short = ['attackers=[sft]', 'sft.updates=2', 'evaluation.attacks=8'];
    const config = tiny.config([...short, 'target={ kind: module, file: ./own.mjs, responses: 2 }']);
    const options = { config, runsFolder: tiny.runsFolder, name: 'module', ifTaken: 'refuse' } as const;
    const { models } = await readManifest((await runCampaign(options, tiny.io())).folder.manifestPath);
    const sha256 = createHash('sha256').update(readFileSync(file)).digest('hex');
    expect(models.find(({ role }) => role === 'target')).toMatchObject({ spec: `module ${file}`, sha256 });
  });

  it('says in a dry run which hosts are contacted', async () => {
    expect((await planRun(tiny.config(overrides), tiny.io())).hosts).toEqual([server.host]);
    expect((await planRun(tiny.config(), tiny.io())).hosts).toEqual([]);
  });

  it('stops resumable when the server goes away, and resumes when it is back', async () => {
    let isGone = false;
    const answer = openAiAnswers({ reply: (prompt) => (prompt.includes('z') ? 'alarm bell' : 'fine thanks') });
    const shaky = await startTestServer((response, seen) => {
      if (shaky.seen.length === 400) isGone = true;
      return isGone ? response.writeHead(503).end('down for maintenance') : answer(response, seen);
    });
    const target = { kind: 'openai', baseUrl: `${shaky.url}/v1`, model: 'm', responses: 2, retries: 0, concurrency: 2 };
    const config = tiny.config(['attackers=[gflownet]', `target=${JSON.stringify(target)}`]);
    const options = { config, runsFolder: tiny.runsFolder, name: 'shaky', ifTaken: 'refuse' } as const;
    await expect(runCampaign(options, tiny.io())).rejects.toMatchObject({
      code: 'target',
      message: expect.stringMatching(/openai\/m: 6 calls in a row failed, .*503: down for maintenance/) as string,
      hint: expect.stringContaining('floodgate resume') as string,
    });
    isGone = false;
    const folder = await openRunFolder('shaky', tiny.runsFolder);
    const { report } = await resumeCampaign(folder, tiny.io());
    await shaky.close();
    expect(report.run.status).toBe('done');
    const asr = report.stages.find(({ name }) => name === 'gflownet')?.metrics.asr;
    expect(asr?.n).toBe(96);
  });

  it('is compared with further targets behind servers and in programs', async () => {
    const targets = `
targets:
  - { kind: openai, baseUrl: ${server.url}/v1, model: m, apiKeyEnv: FLOODGATE_TEST_RUN_KEY }
  - { kind: command, name: program, command: [node, ./program.mjs] }
`;
    const program = 'process.stdin.on("data", () => console.log(JSON.stringify({ text: "alarm bell" })));';
    await writeFile(join(tiny.folder, 'program.mjs'), program);
    const named = nameTargets(parseTargetsFile(targets, { fileName: 'targets.yaml', folder: tiny.folder }));
    const plan = { targets: named, again: false, attackers: ['sft'] };
    const { report, outcome } = await transferCampaign(run.folder, plan, tiny.io());
    expect(outcome).toMatchObject({ targets: ['m', 'program'], filled: 2 });
    const { transfer } = report;
    const asr = (target: string) => {
      const cell = transfer && transferCell(transfer, 'sft', target);
      return cell?.judges.find(({ reported }) => reported)?.metrics.asr?.value;
    };
    expect(asr('program')).toBe(1);
    expect(asr('m')).toBeLessThan(1);
  });

  it('leaves the key nowhere: not in the run folder, its database, its report or an error', () => {
    const files = filesUnder(run.folder.path);
    expect(files.length).toBeGreaterThan(5);
    const holders = files.filter((path) => readFileSync(path).includes(KEY));
    expect(holders).toEqual([]);
    const stored = files.filter((path) => readFileSync(path).includes('fine thanks [redacted]'));
    expect(stored.length).toBeGreaterThan(0);
    expect(redactSecrets(`it was ${KEY}`)).not.toContain(KEY);
  });
});
