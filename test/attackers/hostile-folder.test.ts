import { createHash } from 'node:crypto';
import { cp, mkdir, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { readSafetensors, type Tensor, writeSafetensors } from '../../src/models/formats/safetensors.ts';
import { cli } from '../cli/cli-runner.ts';
import { type AttackerRuns, createAttackerRuns } from './attacker-runs.ts';

const [FILE, WEIGHTS, CONFIG, CARD] = [
  'floodgate-attacker.json',
  'adapter_model.safetensors',
  'adapter_config.json',
  'README.md',
];
const ESCAPE = '\u001b[31m';

let runs: AttackerRuns;
let good: string;
let number = 0;
let before: string[];

beforeAll(async () => {
  runs = await createAttackerRuns();
  good = runs.at('good');
  await runs.attacker('export', 'first', '--stage', 'gflownet', '--out', good);
  before = await readdir(runs.tiny.runsFolder);
});
afterAll(() => runs.remove());

/** An import that should have been refused must not fail the tests after it. */
afterEach(async () => {
  for (const name of await readdir(runs.tiny.runsFolder))
    if (!before.includes(name)) await rm(path.join(runs.tiny.runsFolder, name), { recursive: true });
});

const sha256 = async (file: string): Promise<string> =>
  createHash('sha256')
    .update(await readFile(file))
    .digest('hex');

// biome-ignore lint/suspicious/noExplicitAny: a file to be broken has no type
type Json = Record<string, any>;

/** Sets one value by its dotted key; undefined leaves it out. */
const put =
  (dotted: string, value: unknown) =>
  (json: Json): void => {
    const keys = dotted.split('.');
    const last = keys.pop() as string;
    const parent = keys.reduce<Json>((object, key) => object[key] as Json, json);
    parent[last] = value;
  };

const edit = async (file: string, change: (json: Json) => void): Promise<void> => {
  const json = JSON.parse(await readFile(file, 'utf8')) as Json;
  change(json);
  await writeFile(file, JSON.stringify(json));
};

/** A copy of the exported folder, changed; `rehash` makes its hashes right again, as a stranger would. */
async function changed(change: (folder: string) => Promise<unknown>, rehash = false): Promise<string> {
  const folder = runs.at(`copy-${number++}`);
  await cp(good, folder, { recursive: true });
  await change(folder);
  if (rehash) {
    const hashes = {
      sha256: await sha256(path.join(folder, WEIGHTS)),
      configSha256: await sha256(path.join(folder, CONFIG)),
    };
    await edit(path.join(folder, FILE), (json) => Object.assign(json.adapter, hashes));
  }
  return folder;
}

const importing = (folder: string, ...args: readonly string[]) =>
  runs.attacker('import', folder, '--name', 'taken-in', '--base', runs.at('attacker'), ...args);

/** A refusal that leaves the runs as they were and shows nothing that a terminal obeys. */
async function refuses(folder: string, message: RegExp, ...args: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await importing(folder, ...args);
  expect(stderr).toMatch(message);
  expect(code).toBeGreaterThan(0);
  expect(stdout + stderr).not.toContain('\u001b');
  expect(stderr).not.toMatch(/internal|TypeError|RangeError/);
  expect(await readdir(runs.tiny.runsFolder)).toEqual(before);
}

const weights = (change: (tensors: Map<string, Tensor>) => void) => async (folder: string) => {
  const file = path.join(folder, WEIGHTS);
  const { tensors, metadata } = await readSafetensors(file);
  change(tensors);
  await writeSafetensors(file, tensors, metadata);
};
const first = (tensors: Map<string, Tensor>) => [...tensors][0] as [string, Tensor];

describe('the files of a folder', () => {
  it.each([FILE, WEIGHTS, CONFIG] as string[])('must hold %s, as a file and not a link', async (name) => {
    const without = await changed((folder) => rm(path.join(folder, name)));
    await refuses(without, name === FILE ? /holds no floodgate-attacker.json/ : new RegExp(`${name} is missing`));
    const link = await changed(async (folder) => {
      await rm(path.join(folder, name));
      await symlink(path.join(good, name), path.join(folder, name));
    });
    await refuses(link, new RegExp(`${name} is no regular file`));
    const inside = await changed(async (folder) => {
      await rm(path.join(folder, name));
      await mkdir(path.join(folder, name));
    });
    await refuses(inside, new RegExp(`${name} is no regular file`));
  });

  it('must have the bytes of the export', async () => {
    const flipped = await changed(async (folder) => {
      const bytes = await readFile(path.join(folder, WEIGHTS));
      bytes[bytes.length - 3] = (bytes.at(-3) as number) ^ 1;
      await writeFile(path.join(folder, WEIGHTS), bytes);
    });
    await refuses(flipped, /adapter_model.safetensors: its sha256 is [0-9a-f]{64}, expected [0-9a-f]{64}/);
    const config = await changed((folder) => edit(path.join(folder, CONFIG), put('lora_alpha', 16)));
    await refuses(config, /adapter_config.json: its sha256 is/);
  });

  it('must not be larger than they can be; nothing of such a file is read', async () => {
    const huge = await changed((folder) => truncate(path.join(folder, WEIGHTS), 2 ** 40));
    await refuses(huge, /got 1099511627776 bytes, expected at most/);
    for (const name of [FILE, CONFIG] as const) {
      const long = await changed((folder) => truncate(path.join(folder, name), 2 ** 40));
      await refuses(long, /got 1099511627776 bytes, expected at most 1048576/);
    }
  });
});

describe('weights with right hashes', () => {
  it.each<[string, (folder: string) => Promise<unknown>, RegExp]>([
    [
      'end early',
      async (f) => truncate(path.join(f, WEIGHTS), 20_000),
      /tensors end at byte \d+, but the file has 20000/,
    ],
    [
      'have a header of gigabytes',
      async (f) => {
        const bytes = await readFile(path.join(f, WEIGHTS));
        bytes.writeBigUInt64LE(2n ** 40n);
        await writeFile(path.join(f, WEIGHTS), bytes);
      },
      /header length is 1099511627776/,
    ],
    [
      'have another shape',
      weights((all) => {
        const [name, { data }] = first(all);
        all.set(name, { shape: [data.length], data });
      }),
      /has shape \[\d+\], expected \[8,/,
    ],
    ['lack a tensor', weights((all) => void all.delete(first(all)[0])), /is missing, which this base needs/],
    [
      'hold one more',
      weights((all) => void all.set('../../etc/x', { shape: [1], data: new Float32Array(1) })),
      /etc\/x belongs to no projection/,
    ],
    ['hold no number', weights((all) => void first(all)[1].data.fill(Number.NaN)), /holds a value that is no number/],
    ['hold infinity', weights((all) => void first(all)[1].data.fill(Number.POSITIVE_INFINITY, 0, 1)), /no number/],
    ['are no safetensors', async (f) => writeFile(path.join(f, WEIGHTS), `PK\u0003\u0004${ESCAPE}`), /safetensors/],
    ['have another rank in PEFT’s file', async (f) => edit(path.join(f, CONFIG), put('r', 4)), /has shape|has rank 4/],
    [
      'have another alpha in PEFT’s file',
      async (f) => edit(path.join(f, CONFIG), put('lora_alpha', 4)),
      /has rank 8 and alpha 4, expected 8 and 8/,
    ],
    ['are of DoRA', async (f) => edit(path.join(f, CONFIG), put('use_dora', true)), /use_dora/],
  ])('are refused where they %s', async (_name, change, message) => {
    await refuses(await changed(change, true), message);
  });
});

describe('what the file says', () => {
  it.each<[string, (json: Json) => void, RegExp]>([
    ['a name that is a path', put('name', '../../x'), /name: expected letters/],
    ['a stage that is a path', put('stage', '../x'), /stage: expected the name of a stage/],
    ['a base that is a path', (j) => Object.assign(j.base, { isPath: false, spec: '/etc/passwd' }), /spec is no name/],
    ['a base above', (j) => Object.assign(j.base, { isPath: false, spec: '../x' }), /spec is no name/],
    ['a base of control characters', put('base.spec', ESCAPE), /control or invisible/],
    ['another base', put('base.sha256', 'a'.repeat(64)), /has the sha256 a{64}, got [0-9a-f]{64} of/],
    ['a newer version', put('formatVersion', 2), /formatVersion 2, expected 1[\s\S]*newer Floodgate/],
    ['no version', put('formatVersion', undefined), /formatVersion/],
    ['a rank of millions', put('adapter.rank', 1_000_000), /adapter.rank/],
    ['projections that are not there', put('adapter.targets', ['w_proj']), /no projection w_proj/],
    ['endless attacks', put('policy.maxTokens', 1e9), /policy.maxTokens/],
    ['an unknown key', put('run', '/bin/sh'), /run/],
    ['a target of control characters', put('card.target.name', ESCAPE), /card: target.name: holds a control/],
    ['a judge that reorders text', put('card.judges.0.name', 'a\u202eb'), /card: judges.0.name: holds/],
    ['a hash that closes a code span', put('card.data.seedsSha256', '`<b>'), /card: data.seedsSha256/],
    ['a licence of JavaScript', put('card.licence', { id: 'mit', title: 'x', address: 'javascript:x' }), /https/],
    ['a figure that is no number', put('card.figures.asr.value', '0.1'), /card: figures.asr.value/],
    ['no card', put('card', undefined), /card/],
  ])('is refused with %s', async (_name, change, message) => {
    await refuses(await changed((folder) => edit(path.join(folder, FILE), change)), message);
  });

  it('is refused with a key twice, and where it is no JSON', async () => {
    const file = (folder: string) => path.join(folder, FILE);
    const twice = await changed(async (folder) =>
      writeFile(file(folder), (await readFile(file(folder), 'utf8')).replace('{', '{"formatVersion": 1,')),
    );
    await refuses(twice, /formatVersion\\?" occurs twice/);
    await refuses(await changed((folder) => writeFile(file(folder), `{${ESCAPE}`)), /not JSON/);
  });

  it('is escaped in the card, and nothing of a stranger’s README is taken', async () => {
    const markup = '</td><img src=x onerror=alert(1)> | [a](javascript:b) `x`';
    const folder = await changed(async (copy) => {
      await writeFile(path.join(copy, CARD), `${ESCAPE}<script>alert(1)</script>`);
      await writeFile(path.join(copy, 'more.sh'), 'rm -rf /');
      await edit(path.join(copy, FILE), (json) => {
        json.card.target.name = markup;
        json.card.judges[0].role = markup;
        json.card.run.stageStatus = markup;
        json.card.calls[0].work = markup;
        json.card.settings[markup] = markup;
        json.card.figures[markup] = json.card.figures.asr;
      });
    });
    expect((await importing(folder)).code).toBe(0);
    const place = path.join(runs.tiny.runsFolder, 'taken-in');
    expect(await readdir(place)).not.toContain('more.sh');
    const card = await readFile(path.join(place, CARD), 'utf8');
    expect(card).not.toContain(ESCAPE);
    expect(card).not.toContain('<script');
    const outsideCode = card.replace(/(`+)(?!`)[\s\S]*?[^`]\1(?!`)/g, '');
    expect(outsideCode).not.toMatch(/(?<!\\)<(?!https)|(?<!\\)\[a/);
    expect((await runs.attacker('rm', 'taken-in')).code).toBe(0);
    expect(await readdir(runs.tiny.runsFolder)).toEqual(before);
  });
});

describe('where it goes', () => {
  it.each<[string, readonly string[], RegExp]>([
    ['a path', ['--name', '../above'], /--name: got "..\/above", expected letters/],
    ['a hidden name', ['--name', '.hidden'], /expected letters/],
    ['the name of a run', ['--name', 'first'], /first exists already[\s\S]*choose another with --name/],
  ])('is not %s', async (_name, args, message) => {
    await refuses(good, message, ...args);
  });

  it('needs the base, and says which', async () => {
    const { stderr, code } = await runs.attacker('import', good, '--name', 'x');
    expect(code).toBeGreaterThan(0);
    expect(stderr).toMatch(/its base attacker was a path on another machine[\s\S]*--base PATH/);
    await refuses(good, /there is no such file or folder/, '--base', runs.at('nowhere'));
    const named = await changed((folder) =>
      edit(path.join(folder, FILE), (json) => Object.assign(json.base, { isPath: false, spec: 'hf:somebody/model' })),
    );
    const absent = await runs.attacker('import', named, '--name', 'x');
    expect(absent.stderr).toMatch(/not in the model cache[\s\S]*floodgate models pull hf:somebody\/model/);
    const other = runs.at('other-base');
    await cp(runs.at('attacker'), other, { recursive: true });
    await weightsOf(other, (tensors) => void first(tensors)[1].data.fill(7, 0, 1));
    await refuses(good, /its base attacker has the sha256 [0-9a-f]{64}, got [0-9a-f]{64}/, '--base', other);
  });

  it('is no place with a file of somebody else, for rm', async () => {
    expect((await importing(good)).code).toBe(0);
    const place = path.join(runs.tiny.runsFolder, 'taken-in');
    await writeFile(path.join(place, 'mine.txt'), 'x');
    const refused = await runs.attacker('rm', 'taken-in');
    expect(refused.stderr).toMatch(/mine.txt.*which Floodgate did not write/);
    await rm(path.join(place, 'mine.txt'));
    expect((await runs.attacker('rm', 'attacker:taken-in')).code).toBe(0);
    expect((await runs.attacker('rm', '../good')).stderr).toMatch(/attacker name: got/);
    expect((await runs.attacker('rm', 'first')).stderr).toMatch(/no imported attacker/);
    expect(await readdir(runs.tiny.runsFolder)).toEqual(before);
  });
});

async function weightsOf(folder: string, change: (tensors: Map<string, Tensor>) => void): Promise<void> {
  const file = path.join(folder, 'model.safetensors');
  const { tensors, metadata } = await readSafetensors(file);
  change(tensors);
  await writeSafetensors(file, tensors, metadata);
}

it.each(['//host/share', '\\\\host\\share'])('serve opens no base on another machine: %s', async (base) => {
  const folder = await changed((copy) => writeFile(path.join(copy, 'imported.json'), JSON.stringify({ base })));
  const cacheDir = runs.tiny.io().cacheDir as string;
  const { code, stderr } = await cli(['--cache-dir', cacheDir, 'serve', folder, '--port', '0']);
  expect(code).toBeGreaterThan(0);
  expect(stderr).toMatch(/base: is on another machine/);
});

it('serve refuses a damaged folder before it listens', async () => {
  const folder = await changed(async (copy) => {
    await writeFile(path.join(copy, 'imported.json'), JSON.stringify({ base: runs.at('attacker') }));
    const bytes = await readFile(path.join(copy, WEIGHTS));
    bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1;
    await writeFile(path.join(copy, WEIGHTS), bytes);
  });
  const cacheDir = runs.tiny.io().cacheDir as string;
  const { code, stderr } = await cli(['--cache-dir', cacheDir, 'serve', folder, '--port', '0']);
  expect(code).toBeGreaterThan(0);
  expect(stderr).toMatch(/its sha256 is/);
});
