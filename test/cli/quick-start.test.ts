import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTinyCampaign, type TinyCampaign } from '../stages/tiny-campaign.ts';
import { cli } from './cli-runner.ts';

/** The steps of docs/quick-start.md, with a tiny random attacker in the place of SmolLM2. */
describe('the quick start', () => {
  let tiny: TinyCampaign;
  let app: ChildProcess;
  let url: string;
  beforeAll(async () => {
    tiny = await createTinyCampaign();
    app = spawn(process.execPath, ['examples/app/server.mjs'], { env: { ...process.env, PORT: '0' } });
    url = await new Promise((resolve) => {
      app.stdout?.on('data', (data: Buffer) => resolve(/http:\S+/.exec(String(data))?.[0] ?? ''));
    });
  });
  afterAll(async () => {
    app.kill();
    await tiny.remove();
  });

  it('goes from an address to a report within the budget of the config', { timeout: 240_000 }, async () => {
    const file = join(tiny.folder, 'quick.yaml');
    const first = await cli(['init', file, '--target', url]);
    expect([first.code, first.stderr]).toEqual([0, '']);
    expect((await cli(['run', file, '--runs-dir', tiny.runsFolder])).stderr).toMatch(/who authorised/);
    writeFileSync(file, readFileSync(file, 'utf8').replace('authorisation: ""', 'authorisation: the app of this test'));
    const small = [
      ...[
        `attacker.model=${tiny.folder}/attacker`,
        `encoder.model=${tiny.folder}/encoder`,
        'attacker.maxTokens=6',
        'attacker.metaPrompt=say',
      ],
      'attacker.minTokens=2',
      ...['sft.updates=4', 'sft.warmupUpdates=1', 'gflownet.updates=16', 'gflownet.warmupUpdates=2'],
      ...['gflownet.replay.seedWithReference=16', 'smoothing.updates=4', 'smoothing.warmupUpdates=1'],
      ...['evaluation.attacks=16', 'evaluation.controls=4', 'threads=1'],
    ].flatMap((each) => ['--set', each]);
    const ended = await cli(['run', file, '--runs-dir', tiny.runsFolder, '--name', 'quick', ...small]);
    expect(ended.code, ended.stderr).toBe(0);
    expect(ended.stderr).toContain('warning: target: its app counts no tokens');
    const folder = join(tiny.runsFolder, 'quick');
    expect(existsSync(join(folder, 'report.html'))).toBe(true);
    const report = JSON.parse(readFileSync(join(folder, 'report.json'), 'utf8'));
    expect(report.run).toMatchObject({ status: 'done', authorisation: 'the app of this test' });
    expect(report.stages.map(({ name }: { name: string }) => name)).toEqual(['sft', 'gflownet', 'smoothing']);
    expect(readFileSync(join(folder, 'config.yaml'), 'utf8')).toMatch(/budget:\n {2}targetCalls: 2000/);
  });
});
