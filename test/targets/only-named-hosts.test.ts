import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTinyCampaign, type TinyCampaign } from '../stages/tiny-campaign.ts';
import { builtProgram } from '../support/compiled-source.ts';
import { type Contacts, type NamespaceCommand, runInNamespace, whyNoNamespace } from './namespace/namespace.ts';

const TARGET = { kind: 'openai', baseUrl: 'http://127.0.0.1:8001/v1', model: 'm', responses: 2 };
const JUDGE = {
  kind: 'http',
  name: 'elsewhere',
  url: 'http://127.0.0.2:8002/classify',
  body: { json: { text: '{{response}}' } },
  score: '$.score',
};
const SHORT = [
  ...['attackers=[gflownet,smoothing]', 'sft.updates=2', 'sft.warmupUpdates=1', 'gflownet.updates=3'],
  ...['gflownet.warmupUpdates=1', 'collect.minUnsafe=0', 'smoothing.updates=2', 'smoothing.warmupUpdates=1'],
  ...['watch.everyUpdates=0', 'evaluation.attacks=8', 'evaluation.controls=2'],
];
/** An address for documentation (RFC 5737). Nobody is there. */
const STRANGER = '198.51.100.7';

const set = (...pairs: readonly string[]): string[] => [...SHORT, ...pairs].flatMap((pair) => ['--set', pair]);
const json = (key: string, value: unknown): string => `${key}=${JSON.stringify(value)}`;
const WITH_JUDGE = json('judges.evaluation', [
  { kind: 'lexicon', name: 'bells', rules: [{ terms: ['bell'], weight: 0.9 }] },
  JUDGE,
]);

/** Hosts that a dry run names. */
function hostsOf({ stdout }: Pick<Contacts, 'stdout'>): string[] {
  return [...((JSON.parse(stdout) as { hosts: string[] }).hosts ?? [])].sort();
}

const why = whyNoNamespace();
const name = 'the hosts that a run contacts, in a network namespace';
const skipped = `${name} (skipped: this machine permits none: ${why})`;

describe.skipIf(why !== undefined)(why === undefined ? name : skipped, () => {
  let tiny: TinyCampaign;
  const done = new Map<string, Contacts>();
  const of = (key: string): Contacts => done.get(key) as Contacts;

  beforeAll(async () => {
    tiny = await createTinyCampaign();
    await writeFile(
      join(tiny.folder, 'strays.mjs'),
      `export default async () => {
         await fetch('http://${STRANGER}/').catch(() => undefined);
         return 'fine thanks';
       };`,
    );
    const place = ['--runs-dir', tiny.runsFolder, '--cache-dir', join(tiny.folder, 'cache')];
    const asked = set(json('target', TARGET), WITH_JUDGE);
    const strays = set('target={ kind: module, file: ./strays.mjs, responses: 1 }');
    const proxied = set(json('target', { ...TARGET, baseUrl: 'http://model.example/v1' }));
    const env = { HTTP_PROXY: 'http://127.0.0.3:3128' };
    const missing = set(json('target', TARGET), 'encoder.model=all-minilm-l6-v2');
    const cache = ['--cache-dir', join(tiny.folder, 'empty')];
    const commands: [string, NamespaceCommand][] = [
      ['dry', { args: ['run', 'tiny.yaml', '--dry-run', '--json', ...place, ...asked] }],
      ['run', { args: ['run', 'tiny.yaml', '--name', 'asked', ...place, ...asked] }],
      ['report', { args: ['report', 'asked', ...place] }],
      ['local dry', { args: ['run', 'tiny.yaml', '--dry-run', '--json', ...place, ...set()] }],
      ['local run', { args: ['run', 'tiny.yaml', '--name', 'here', ...place, ...set()] }],
      ['strays dry', { args: ['run', 'tiny.yaml', '--dry-run', '--json', ...place, ...strays] }],
      ['strays run', { args: ['run', 'tiny.yaml', '--name', 'strays', ...place, ...strays] }],
      ['proxy dry', { args: ['run', 'tiny.yaml', '--dry-run', '--json', ...place, ...proxied], env }],
      ['proxy run', { args: ['run', 'tiny.yaml', '--name', 'proxied', ...place, ...proxied], env }],
      ['missing', { args: ['run', 'tiny.yaml', '--runs-dir', tiny.runsFolder, ...cache, ...missing] }],
      ['init', { args: ['init', 'found.yaml', '--target', 'http://127.0.0.1:8001', ...cache] }],
      ['test', { args: ['target', 'test', 'tiny.yaml', ...set(json('target', TARGET))] }],
    ];
    const at = { mainPath: join(builtProgram(), 'cli', 'main.js'), cwd: tiny.folder, folder: join(tiny.folder, 'ns') };
    const contacts = await runInNamespace(
      at,
      commands.map(([, command]) => command),
    );
    for (const [i, [key]] of commands.entries()) done.set(key, contacts[i] as Contacts);
  });
  afterAll(async () => {
    await tiny?.remove();
  });

  it('are those of target and judges that its dry run names, and no other', () => {
    expect(of('run').code, of('run').stderr).toBe(0);
    expect(of('run').contacted).toEqual(['127.0.0.1:8001', '127.0.0.2:8002']);
    expect(hostsOf(of('dry'))).toEqual(of('run').contacted);
    expect(of('dry').contacted).toEqual(['127.0.0.1:8001']);
    expect(of('report').contacted).toEqual([]);
  });

  it('are none where target and judges are on this machine', () => {
    expect(of('local run').code, of('local run').stderr).toBe(0);
    expect(of('local run').contacted).toEqual([]);
    expect(hostsOf(of('local dry'))).toEqual([]);
  });

  it('are seen where a run contacts one that its dry run does not name: code of the user', () => {
    expect(of('strays run').code, of('strays run').stderr).toBe(0);
    expect(of('strays run').contacted).toEqual([`${STRANGER}:80`]);
    expect(hostsOf(of('strays dry'))).not.toContain(`${STRANGER}:80`);
  });

  it('are the proxy of the environment alone, which the dry run names', () => {
    expect(of('proxy run').code, of('proxy run').stderr).toBe(0);
    expect(of('proxy run').contacted).toEqual(['127.0.0.3:3128']);
    expect(hostsOf(of('proxy dry'))).toEqual(['127.0.0.3:3128', 'model.example']);
  });

  it('are none for a missing model: the error names the command that fetches it', () => {
    expect(of('missing').code).toBe(1);
    expect(of('missing').stderr).toContain('floodgate models pull all-minilm-l6-v2');
    expect(of('missing').contacted.filter((host) => host !== '127.0.0.1:8001')).toEqual([]);
  });

  it('are the target alone for init --target and target test', () => {
    expect(of('init').code, of('init').stderr).toBe(0);
    expect(of('init').contacted).toEqual(['127.0.0.1:8001']);
    expect(of('test').contacted).toEqual(['127.0.0.1:8001']);
  });
});
