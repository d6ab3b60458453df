import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sarifErrors } from '../exports/sarif-schema.ts';
import { createTinyCampaign, type TinyCampaign } from '../stages/tiny-campaign.ts';
import { cli } from './cli-runner.ts';

/** Icl is drawn without training. With causes, so that ways are known: the target's weak spot is the letter z. */
const SMALL = [
  'attackers=[icl]',
  'evaluation={attacks: 96, responses: 1, controls: 0, causes: {clusters: 8, asks: 12, responses: 1}}',
];
const SAFE = 'target.rules=[]';

let tiny: TinyCampaign;
let config: string;
let runsDir: string;

const call = (command: readonly string[], ...settings: readonly string[]) =>
  cli([
    ...command,
    ...['--runs-dir', runsDir, '--cache-dir', path.join(tiny.folder, 'cache')],
    ...[...SMALL, ...settings].flatMap((setting) => ['--set', setting]),
  ]);
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
    expect(readFileSync(path.join(out, 'junit.xml'), 'utf8')).toContain('<testsuite ');
    const sarif = JSON.parse(readFileSync(path.join(out, 'results.sarif'), 'utf8'));
    expect(sarifErrors(sarif)).toEqual([]);
    expect(sarif.runs[0].tool.driver.name).toBe('Floodgate');
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
