import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openRunFolder } from '../../src/runs/run-folder.ts';
import { openStore } from '../../src/runs/store/run-store.ts';
import { junitErrors } from '../exports/junit-schema.ts';
import { sarifErrors } from '../exports/sarif-schema.ts';
import { createTinyCampaign, type TinyCampaign } from '../stages/tiny-campaign.ts';
import { cli } from './cli-runner.ts';

/** Icl is drawn without training. With causes, so that ways are known: the target's weak spot is the letter z. */
const SMALL = [
  'attackers=[icl]',
  'evaluation={attacks: 96, responses: 1, controls: 0, causes: {clusters: 64, asks: 12, responses: 1}}',
];
const SAFE = 'target.rules=[]';

let tiny: TinyCampaign;
let config: string;
let runsDir: string;

const wordsOf = (command: readonly string[], ...settings: readonly string[]) => [
  ...command,
  ...['--runs-dir', runsDir, '--cache-dir', path.join(tiny.folder, 'cache')],
  ...[...SMALL, ...settings].flatMap((setting) => ['--set', setting]),
];
const call = (command: readonly string[], ...settings: readonly string[]) => cli(wordsOf(command, ...settings));
const runs = (): string[] => (existsSync(runsDir) ? readdirSync(runsDir).filter((name) => !name.startsWith('.')) : []);

beforeAll(async () => {
  tiny = await createTinyCampaign();
  config = path.join(tiny.folder, 'tiny.yaml');
  runsDir = tiny.runsFolder;
  const { code, stderr } = await call(['run', config, '--name', 'release']);
  if (code !== 0) throw new Error(stderr);
}, 60_000);

afterAll(() => tiny.remove());

describe('floodgate ci', () => {
  it('ends with 0 where the whole interval is within the limit', async () => {
    const { code, stdout } = await call(['ci', config, '--name', 'safe'], SAFE, 'gate.successRate=0.05', 'gate.ways=0');
    expect(stdout).toContain('passed (exit code 0)');
    // A check a line, under a line of headings.
    expect(
      stdout
        .split('\n')
        .slice(0, 3)
        .map((line) => line.split('  ')[0]),
    ).toEqual(['figure', 'success rate', 'ways of success']);
    expect(code).toBe(0);
  });

  it('ends with 101 where the limit lies in the interval: 0 of 96 leaves up to 4 in 100', async () => {
    const { code, stdout } = await call(['ci', config, '--name', 'few'], SAFE, 'gate.successRate=0.01');
    expect(stdout).toContain('undecided (exit code 101)');
    expect(code).toBe(101);
  });

  it('ends with 100 where a figure is above, and replays the baseline first', async () => {
    const limits = ['gate.successRate=0.9', 'gate.replayed=0.1'];
    const { code, stdout } = await call(['ci', config, '--baseline', 'release', '--name', 'same', '--json'], ...limits);
    expect(code).toBe(100);
    const { checks, state, notes } = JSON.parse(stdout);
    expect(state).toBe('exceeded');
    expect(checks.map(({ limit, attacker, state: each }: Record<string, string>) => [limit, attacker, each])).toEqual([
      ['successRate', 'icl', 'passed'],
      ['replayed', 'replay', 'exceeded'],
    ]);
    expect(notes[0]).toMatch(/^Ways against run release: \d+ new, [1-9]\d* still open/);
    expect(notes[1]).toContain('asked in both');
  });

  it('sees that the baseline is closed, and says so without a text', async () => {
    const out = path.join(tiny.folder, 'out');
    const limits = ['gate.replayed=0.9', 'gate.newWays=0'];
    const args = ['ci', config, '--baseline', 'release', '--name', 'closed', '--out', out];
    const { code, stdout } = await call(args, SAFE, ...limits);
    expect(stdout).toContain('0 new');
    expect(code).toBe(0);
    const summary = readFileSync(path.join(out, 'summary.md'), 'utf8');
    expect(summary).toContain("| the baseline's successes that succeed again | replay | 0 [0, ");
    expect(JSON.parse(readFileSync(path.join(out, 'gate.json'), 'utf8')).state).toBe('passed');
    const junit = readFileSync(path.join(out, 'junit.xml'), 'utf8');
    expect(junit).toContain('<testsuite ');
    expect(await junitErrors(junit)).toEqual([]);
    const sarif = JSON.parse(readFileSync(path.join(out, 'results.sarif'), 'utf8'));
    expect(sarifErrors(sarif)).toEqual([]);
    expect(sarif.runs[0].tool.driver.name).toBe('Floodgate');
  });

  it('only reads a run that is done: its target need not be there', async () => {
    const log = async () => {
      const { databasePath } = await openRunFolder('release', runsDir);
      const store = await openStore(databasePath, { readOnly: true });
      try {
        return store.events().map(({ code }) => code);
      } finally {
        store.close();
      }
    };
    const before = await log();
    const { code } = await call(['ci', config, '--run', 'release'], 'gate.successRate=1');
    expect(code).toBe(0);
    expect(await log()).toEqual(before);
  });

  it('ends with 101 where the budget ends the run first, with what is known; the command it names decides', async () => {
    const out = path.join(tiny.folder, 'spent');
    const file = path.join(tiny.folder, 'spent-baseline.json');
    const args = ['ci', config, '--name', 'spent', '--out', out, '--save-baseline', file];
    const { code, stdout } = await call([...args, '--budget', 'targetCalls=70'], SAFE, 'gate.successRate=0.05');
    expect(code).toBe(101);
    expect(stdout).toMatch(/success rate +icl +not measured +at most 5.0% +undecided/);
    expect(stdout).toMatch(/Stopped: the budget is spent: 64 of 70 target calls/);
    expect(stdout).toContain('undecided (exit code 101)');
    const [, continued = ''] = /^Continue: floodgate (.+)$/m.exec(stdout) ?? [];
    expect(continued).toContain(`--run spent --budget targetCalls=140`);
    const summary = readFileSync(path.join(out, 'summary.md'), 'utf8');
    expect(summary).toContain('- Stopped: the budget is spent');
    expect(await junitErrors(readFileSync(path.join(out, 'junit.xml'), 'utf8'))).toEqual([]);
    expect(existsSync(file)).toBe(false);
    const again = await cli((continued.match(/'[^']*'|\S+/g) ?? []).map((word) => word.replace(/^'(.*)'$/, '$1')));
    expect(again.stdout).toContain('passed (exit code 0)');
    expect(again.code).toBe(0);
    expect(existsSync(file)).toBe(true);
  });

  it('ends with 101 where money is spent before the search began, and with 100 where the replay has exceeded', async () => {
    const money = ['--budget', 'money=0.5'];
    const prices = 'prices={currency: EUR, target: {perCall: 0.01}}';
    const first = await call(['ci', config, '--name', 'money', ...money], prices, 'gate.successRate=0.05');
    expect(first.stdout).toMatch(/Stopped: the budget is spent: .* money/);
    expect(first.code).toBe(101);
    const replay = ['ci', config, '--baseline', 'release', '--name', 'replayed', '--budget', 'targetCalls=100'];
    const second = await call(replay, 'gate.replayed=0.1', 'gate.successRate=0.9');
    expect(second.stdout).toMatch(/succeed again +replay +1 .* exceeded/);
    expect(second.stdout).toMatch(/success rate +icl +not measured/);
    expect(second.code).toBe(100);
  });

  it('ends with 130 at Ctrl-C, also where a budget is set, and judges nothing', async () => {
    const stop = new AbortController();
    const stderr = { write: (text: string) => void (text.includes('time: about') && stop.abort()) };
    const words = wordsOf(['ci', config, '--name', 'stopped', '--budget', 'targetCalls=70'], 'gate.successRate=0.05');
    const { code, stdout } = await cli(words, { signal: stop.signal, stderr });
    expect(stop.signal.aborted).toBe(true);
    expect(stdout).toBe('');
    expect(code).toBe(130);
  });

  it('ends with 1 where the run fails', async () => {
    const broken = 'encoder={model: ./absent}';
    const { code, stderr } = await call(['ci', config, '--name', 'broken'], broken, 'gate.successRate=0.05');
    expect(stderr).toContain('error: ');
    expect(stderr).toContain('absent');
    expect(code).toBe(1);
  });

  it('leaves new ways undecided where causes were not looked for', async () => {
    const unsearched = 'evaluation={attacks: 96, responses: 1, controls: 0, causes: {clusters: 0}}';
    const args = ['ci', config, '--baseline', 'release', '--name', 'unsearched'];
    const { code, stdout } = await call(args, unsearched, 'gate.newWays=0');
    expect(stdout).toMatch(/ways that the baseline does not have +all +0 +at most 0 +undecided/);
    expect(stdout).toContain('Some successes have no known cause');
    expect(code).toBe(101);
    const file = path.join(tiny.folder, 'lacking.json');
    const saved = await call(['ci', config, '--run', 'unsearched', '--save-baseline', file], 'gate.successRate=1');
    expect(saved.stdout).toContain(`${file} lacks the ways of successes without a known cause`);
  });

  it('takes a baseline that found nothing: there is nothing to send again', async () => {
    const clean = await call(['run', config, '--name', 'clean'], SAFE);
    expect(clean.code).toBe(0);
    const limits = ['gate.successRate=0.05', 'gate.replayed=0.1', 'gate.newWays=0'];
    const args = ['ci', config, '--baseline', 'clean', '--name', 'after-clean', '--json'];
    const { code, stdout, stderr } = await call(args, SAFE, ...limits);
    expect(stderr).not.toContain('error');
    const { checks, notes } = JSON.parse(stdout);
    expect(checks.map(({ limit, state }: Record<string, string>) => [limit, state])).toEqual([
      ['successRate', 'passed'],
      ['newWays', 'passed'],
    ]);
    expect(notes).toContain('Nothing was sent again: no attack of run clean succeeded, so gate.replayed holds.');
    expect(code).toBe(0);
    // The next version fails: what the baseline did not have is new.
    const worse = await call(['ci', config, '--baseline', 'clean', '--name', 'worse'], ...limits);
    expect(worse.stdout).toMatch(/ways that the baseline does not have +all +[1-9]\d* +at most 0 +exceeded/);
    expect(worse.code).toBe(100);
  });

  it('compares with a file of figures and hashes, which holds no text', async () => {
    const file = path.join(tiny.folder, 'baseline.json');
    const saved = await call(['ci', config, '--run', 'release', '--save-baseline', file], 'gate.successRate=1');
    expect(saved.code).toBe(0);
    const baseline = JSON.parse(readFileSync(file, 'utf8'));
    expect(Object.keys(baseline)).toEqual(['floodgateBaseline', 'run', 'createdAt', 'judge', 'successRates', 'ways']);
    expect(baseline.ways.length).toBeGreaterThan(0);
    const again = await call(['ci', config, '--run', 'release', '--baseline', file], 'gate.newWays=0');
    expect(again.code).toBe(0);
    baseline.ways.pop();
    const { writeFile } = await import('node:fs/promises');
    await writeFile(file, JSON.stringify(baseline));
    expect((await call(['ci', config, '--run', 'release', '--baseline', file], 'gate.newWays=0')).code).toBe(100);
  });

  it('refuses, before it asks anything, a gate without limits or without the baseline that they need', async () => {
    const before = runs();
    const without = await call(['ci', config]);
    expect(without).toMatchObject({ code: 2 });
    expect(without.stderr).toContain('gate sets no limit');
    expect((await call(['ci', config], 'gate.newWays=0')).stderr).toContain('needs a baseline');
    const broken = path.join(tiny.folder, 'tiny.yaml');
    expect((await call(['ci', config, '--baseline', broken], 'gate.newWays=0')).stderr).toContain('is no JSON');
    expect((await call(['ci', config, '--baseline', 'absent'], 'gate.newWays=0')).stderr).toContain('no such run');
    expect((await call(['ci', config], 'gate.successRate=1.5')).code).toBe(2);
    expect(runs()).toEqual(before);
  });
});
