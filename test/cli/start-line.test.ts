import { existsSync } from 'node:fs';
import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { shellWord } from '../../src/cli/command-output.ts';
import { durationWords } from '../../src/cli/terminal-progress.ts';
import { createTinyCampaign, type TinyCampaign } from '../stages/tiny-campaign.ts';
import { cli } from './cli-runner.ts';

const SHORT = ['sft.updates=2', 'gflownet.updates=3', 'gflownet.warmupUpdates=1', 'watch.everyUpdates=0'];
const MEASURED = ['attackers=[sft, gflownet]', 'evaluation.attacks=6', 'evaluation.controls=0'];

let tiny: TinyCampaign;
let file: string;
let place: string[];
let folders: string[];

beforeAll(async () => {
  tiny = await createTinyCampaign();
  file = join(tiny.folder, 'tiny.yaml');
  folders = ['--runs-dir', tiny.runsFolder, '--cache-dir', join(tiny.folder, 'cache')];
  place = [...[...SHORT, ...MEASURED].flatMap((key) => ['--set', key]), ...folders];
});
afterAll(() => tiny.remove());

/** A signal that aborts when standard error holds `text`. */
function stopAt(text: string) {
  const stopped = new AbortController();
  let written = '';
  const write = (piece: string): void => {
    written += piece;
    if (written.includes(text)) stopped.abort();
  };
  return { io: { stderr: { write }, signal: stopped.signal }, stderr: () => written };
}

describe('the first line of a command', { timeout: 120_000 }, () => {
  it('names the run, its folder, its calls and the whole command that continues it', async () => {
    const { code, stderr } = await cli(['run', file, '--name', 'first', ...place]);
    expect(code, stderr).toBe(0);
    const [first, seeds, time] = stderr.split('\n');
    const resume = `floodgate resume first --runs-dir ${tiny.runsFolder} --cache-dir ${join(tiny.folder, 'cache')}`;
    expect(first).toBe(
      `run first -> ${tiny.runsFolder}/first: at most 92 target calls; Ctrl-C stops it, ${resume} continues it`,
    );
    expect(seeds).toBe('the seeds are 10 attacks (text), the first: hello');
    expect(time).toMatch(/^time: about \d+ (s|min) at the \d+ GFLOP\/s measured now$/);
    const resumed = await cli(['resume', 'first', ...folders]);
    expect(resumed.stderr.split('\n')[0]).toMatch(
      /^resume first -> .*first: at most \d+ target calls, about .* so far; /,
    );
    const evaluated = await cli(['evaluate', 'first', '--stage', 'sft', '--attacks', '8', ...folders]);
    expect(evaluated.code, evaluated.stderr).toBe(0);
    expect(evaluated.stderr.split('\n')[0]).toMatch(/^evaluate sft of first -> .*: at most 16 target calls, about /);
  });

  it('comes for a run that was killed while it made its database, which is then shown and resumed', async () => {
    const begun = await cli(['run', file, '--name', 'begun', ...place]);
    expect(begun.code, begun.stderr).toBe(0);
    const folder = join(tiny.runsFolder, 'begun');
    for (const name of await readdir(folder)) if (/^run\.db/.test(name)) await rm(join(folder, name));
    await writeFile(join(folder, 'run.db'), '');
    const shown = await cli(['show', 'begun', ...folders]);
    expect(shown.code, shown.stderr).toBe(0);
    expect(shown.stdout).toMatch(/^run begun +created/);
    const resumed = await cli(['resume', 'begun', ...folders]);
    expect(resumed.code, resumed.stderr).toBe(0);
  });

  it('comes before a missing model is found, which leaves no run behind', async () => {
    const { code, stderr } = await cli(['run', file, '--name', 'none', ...place, '--set', 'attacker.model=./nothing']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^run none -> [^\n]*\n[^\n]*\nerror: /);
    expect(existsSync(join(tiny.runsFolder, 'none'))).toBe(false);
  });

  it('an interruption is no error: it says what is kept and the whole command that continues', async () => {
    const stopping = stopAt('sft');
    const { code } = await cli(['run', file, '--name', 'stopped', ...place], stopping.io);
    expect(code).toBe(130);
    const stderr = stopping.stderr();
    expect(stderr).not.toMatch(/error:|hint:/);
    const lines = stderr.trimEnd().split('\n').slice(-2);
    expect(lines[0]).toMatch(/^stopped: .*interrupted/);
    const command = lines[1]?.replace(/^continue: floodgate /, '') ?? '';
    expect(command).toBe(`resume stopped --runs-dir ${tiny.runsFolder} --cache-dir ${join(tiny.folder, 'cache')}`);
    const json = await cli(['resume', 'stopped', ...folders, '--json'], { signal: AbortSignal.abort() });
    expect(JSON.parse(json.stdout).error).toMatchObject({ code: 'interrupted', hint: `floodgate ${command}` });
    expect((await cli(command.split(' '))).code).toBe(0);
  });

  it('before there is a run, the same command continues', async () => {
    const targets = join(tiny.folder, 'targets.yaml');
    await writeFile(targets, 'targets:\n  - { name: same }\n');
    const args = ['transfer', 'first', '--targets', targets, ...folders];
    const stopping = stopAt('transfer of first');
    expect((await cli(args, stopping.io)).code).toBe(130);
    expect(stopping.stderr()).toMatch(/^transfer of first to same -> [^\n]*first; Ctrl-C stops it, the same command/);
    expect(stopping.stderr().trimEnd().split('\n').at(-1)).toBe(`continue: floodgate ${args.join(' ')}`);
  });
});

describe('words of the first line', () => {
  it('quotes what a shell would take apart', () => {
    expect(['runs/a-1', 'a=b', "it's", 'two words', ''].map(shellWord)).toEqual([
      'runs/a-1',
      'a=b',
      "'it'\\''s'",
      "'two words'",
      "''",
    ]);
  });

  it('gives a time its units', () => {
    const of = (seconds: number) => durationWords(1000 * seconds);
    expect([0, 20, 1200, 3600, 44_309, 86_400, 323_884].map(of)).toEqual([
      '1 s',
      '20 s',
      '20 min',
      '1 h',
      '12 h 18 min',
      '1 day',
      '3 days 17 h',
    ]);
  });
});
