import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseNetrc } from '../../src/models/sources/credentials.ts';
import { parseIndexPage } from '../../src/models/sources/index-page.ts';
import { parsePipConfig, readPipConfig } from '../../src/models/sources/pip-config.ts';
import { proxyFor } from '../../src/models/sources/proxy.ts';
import {
  normalizeVersion,
  parseWheelName,
  rankCandidates,
  type WheelCandidate,
} from '../../src/models/sources/wheel-choice.ts';

let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'floodgate-pip-'));
});
afterEach(() => rm(home, { recursive: true, force: true }));

async function writeConfig(name: string, text: string): Promise<string> {
  const path = join(home, name);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
  return path;
}

describe("pip's settings", () => {
  const none = { PIP_CONFIG_FILE: '/dev/null' };

  it('default to the public index', async () => {
    expect(await readPipConfig(none)).toMatchObject({ indexUrls: ['https://pypi.org/simple'], findLinks: [] });
  });

  it('come from variables', async () => {
    const env = { PIP_INDEX_URL: 'https://a/simple', PIP_EXTRA_INDEX_URL: 'https://b https://c', PIP_CERT: '/c.pem' };
    expect(await readPipConfig({ ...none, ...env, PIP_FIND_LINKS: '~/w', HOME: home })).toMatchObject({
      indexUrls: ['https://a/simple', 'https://b', 'https://c'],
      findLinks: [join(home, 'w')],
      certPath: '/c.pem',
    });
    expect((await readPipConfig({ ...none, ...env, PIP_NO_INDEX: 'yes' })).indexUrls).toEqual([]);
    expect((await readPipConfig({ ...none, SSL_CERT_FILE: '/s.pem', PIP_DEFAULT_TIMEOUT: '7' })).timeoutMs).toBe(7000);
    await expect(readPipConfig({ ...none, PIP_NO_INDEX: 'perhaps' })).rejects.toMatchObject({ code: 'config' });
  });

  it("come from the system's, the user's and the environment's files, in this order", async () => {
    await writeConfig(
      'xdg/pip/pip.conf',
      '[global]\nindex-url = https://system\ncert = /system.pem\nproxy = http://p\n',
    );
    await writeConfig('.pip/pip.conf', '[global]\nindex-url = https://old-user\ntimeout = 3\n');
    await writeConfig('.config/pip/pip.conf', '[global]\nindex-url = https://user\n[list]\nindex-url = https://list\n');
    const env = { HOME: home, XDG_CONFIG_DIRS: join(home, 'xdg') };
    expect(await readPipConfig(env)).toMatchObject({ indexUrls: ['https://user'], proxy: 'http://p', timeoutMs: 3000 });
    await writeConfig('venv/pip.conf', '[global]\nindex-url = https://venv\n');
    expect((await readPipConfig({ ...env, VIRTUAL_ENV: join(home, 'venv') })).indexUrls).toEqual(['https://venv']);
    const own = await writeConfig('own.conf', '[download]\nextra-index-url =\n  https://x\n  # no\n  https://y\n');
    const withOwn = await readPipConfig({ ...env, PIP_CONFIG_FILE: own });
    expect(withOwn.indexUrls).toEqual(['https://system', 'https://x', 'https://y']); // the user's files do not count
    expect((await readPipConfig({ ...env, PIP_INDEX_URL: 'https://variable' })).indexUrls).toEqual([
      'https://variable',
    ]);
  });

  it('let a section for downloads win over the global one of any file', async () => {
    await writeConfig('xdg/pip/pip.conf', '[download]\nindex_url: https://download\n[install]\nindex-url=https://i\n');
    await writeConfig('.config/pip/pip.conf', '[global]\nindex-url = https://user\n');
    const { indexUrls } = await readPipConfig({ HOME: home, XDG_CONFIG_DIRS: join(home, 'xdg') });
    expect(indexUrls).toEqual(['https://download']);
  });

  it('are refused without showing a line that may hold a password', () => {
    expect(() => parsePipConfig('[global]\nsecretWord', 'pip.conf')).toThrow(/^read pip.conf: line 2 is no/);
  });
});

describe('netrc', () => {
  it('is read by host, with quotes, comments and macros', () => {
    const text = [
      '# machine commented login a password b',
      'machine One.example login "a b" password "c\\"d"',
      'macdef init',
      'machine macro.example login x password y',
      '',
      'machine two.example',
      '  login u account z',
      '  password p#w',
      'default login d password e',
      'machine two.example login late password late',
    ];
    expect([...parseNetrc(text.join('\n'))]).toEqual([
      ['one.example', { user: 'a b', password: 'c"d' }],
      ['two.example', { user: 'u', password: 'p#w' }],
    ]);
  });
});

describe('versions and names of wheels', () => {
  it.each([
    ['1.0', '1'],
    ['v1.0.0', '1'],
    ['1.0-RC.1', '1.0c1'],
    ['2!1.10', '2!1.10.0'],
    ['1.0alpha2', '1.0.a.2'],
    ['1.0-post1', '1.0.r1'],
    ['1.0+Cu_118', '1.0+cu.118'],
  ])('%s is %s', (one, other) => {
    expect(normalizeVersion(one)).toBe(normalizeVersion(other));
  });

  it.each([
    ['1.0', '1.1'],
    ['1.0', '1.0a1'],
    ['1.0', '1.0+local'],
    ['1.10', '1.1'],
    ['1.0', '1!1.0'],
  ])('%s is not %s', (one, other) => {
    expect(normalizeVersion(one)).not.toBe(normalizeVersion(other));
  });

  it('parses the name of a wheel, and no other', () => {
    const name = parseWheelName('Tiny_Model-1.0-3-py3-none-any.whl');
    expect(name).toEqual({ project: 'tiny-model', version: '1.0', build: 3, isPure: true });
    for (const bad of [
      'a-1-py3-none.whl',
      'a/b-1-py3-none-any.whl',
      '..-1-py3-none-any.whl/..',
      'a-1.tar.gz',
      'CON.whl',
    ]) {
      expect(parseWheelName(bad)).toBeUndefined();
    }
  });

  it('ranks what was not withdrawn, runs everywhere and has the pinned hash first', () => {
    const candidate = (filename: string, rest: object = {}): WheelCandidate => {
      const name = parseWheelName(filename);
      if (name === undefined) throw new Error(filename);
      const url = new URL('https://x/');
      return { name, link: { filename, url, sha256: undefined, bytes: undefined, yanked: undefined, ...rest } };
    };
    const all = [
      candidate('a-1-py3-none-any.whl', { yanked: '' }),
      candidate('a-1-cp311-cp311-linux_x86_64.whl'),
      candidate('a-1-py3-none-any.whl'),
      candidate('a-1-2-py3-none-any.whl', { sha256: 'b' }),
    ];
    expect(rankCandidates(all, undefined).map((one) => all.indexOf(one))).toEqual([3, 2, 1, 0]);
    expect(rankCandidates(all, 'b').map((one) => all.indexOf(one))).toEqual([3, 2, 1, 0]);
    expect(rankCandidates(all, 'c').map((one) => all.indexOf(one))).toEqual([2, 1, 0]);
  });
});

describe('proxies', () => {
  const url = new URL('https://index.corp.example:8443/simple');
  const env = { HTTPS_PROXY: 'http://proxy:3128' };

  it.each([
    ['', true],
    ['other.example', true],
    ['x.example', true],
    ['*', false],
    ['corp.example', false],
    ['.corp.example', false],
    ['index.corp.example:8443', false],
    ['index.corp.example:443', true],
    ['a, index.corp.example', false],
  ])('with NO_PROXY=%j: %s', (list, isUsed) => {
    expect(proxyFor(url, { ...env, NO_PROXY: list }) !== undefined).toBe(isUsed);
  });

  it('know networks, both cases, and refuse SOCKS', () => {
    expect(proxyFor(new URL('http://10.1.2.3/'), { http_proxy: 'p:1', no_proxy: '10.0.0.0/8' })).toBeUndefined();
    expect(proxyFor(new URL('http://[fe80::1]/'), { http_proxy: 'p:1', no_proxy: 'fe80::/10' })).toBeUndefined();
    expect(proxyFor(new URL('http://11.1.2.3/'), { http_proxy: 'p:1', no_proxy: '10.0.0.0/8' })?.host).toBe('p:1');
    expect(() => proxyFor(url, { ALL_PROXY: 'socks5://p:1' })).toThrow(
      'expected the address of an http or https proxy',
    );
  });
});

describe('pages of an index', () => {
  const read = (text: string) =>
    parseIndexPage({ text, contentType: 'text/html', url: new URL('https://x/simple/a/') }).map(({ url }) => url.href);

  it('follow <base>, entities and odd quoting', () => {
    expect(read('<a href=b.whl>')).toEqual(['https://x/simple/a/b.whl']);
    expect(read('<base href="/f/"><base href="/g/"><A HREF = "b&amp;c&#46;whl" >')).toEqual(['https://x/f/b&c.whl']);
    expect(read('<template><a href="no"></template><a/href="yes"><abbr href="no"><a hrefx="no">')).toEqual([
      'https://x/simple/a/yes',
    ]);
  });

  it.each(['<a ', '<a "', '<!--', '<script>', "<a href='", '</', '<a href="x"'])(
    'take no longer than their length: many times %j',
    (piece) => {
      expect(read(piece.repeat(300_000)).length).toBeLessThanOrEqual(1);
    },
  );
});
