import { readdirSync, readFileSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { redactSecrets } from '../../src/base/errors.ts';
import { type ReportedRun, runCampaign, transferCampaign } from '../../src/report/campaigns.ts';
import { transferCell } from '../../src/report/figures/transfer-report.ts';
import { readManifest } from '../../src/runs/manifest.ts';
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

  it('names the model and its host in the manifest', async () => {
    const { models } = await readManifest(run.folder.manifestPath);
    expect(models.find(({ role }) => role === 'target')?.spec).toBe(`m at ${server.host}`);
  });

  it('says in a dry run which hosts are contacted', async () => {
    expect((await planRun(tiny.config(overrides), tiny.io())).hosts).toEqual([server.host]);
    expect((await planRun(tiny.config(), tiny.io())).hosts).toEqual([]);
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
