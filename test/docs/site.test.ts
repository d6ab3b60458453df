import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';

interface Staged {
  readonly pages: Map<string, string>;
  readonly files: Map<string, string>;
  readonly problems: string[];
}
interface Sidebar {
  readonly GROUPS: readonly { readonly title: string; readonly pages: readonly string[] }[];
  readonly OTHER_PAGES: Readonly<Record<string, string>>;
}

const root = resolve(import.meta.dirname, '../..');
const load = (name: string) => import(join(root, 'site', name));
const { stagePages } = (await load('stage-pages.mjs')) as { stagePages: (root?: string) => Staged };
const { GROUPS, OTHER_PAGES } = (await load('sidebar.mjs')) as Sidebar;
const { checkSite } = (await load('check-site.mjs')) as {
  checkSite: (folder: string) => Promise<{ found: string[]; pageCount: number; linkCount: number }>;
};

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

/** A temporary folder with these files. */
function placed(files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'floodgate-site-'));
  folders.push(folder);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

describe('the sidebar of the site', () => {
  it('names every document once, and no other', () => {
    const named = GROUPS.flatMap(({ pages }) => pages);
    const docs = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md'));
    expect(new Set(named).size).toBe(named.length);
    expect([...named].sort()).toEqual(
      [...docs, ...Object.values(OTHER_PAGES)].map((name) => name.replace(/\.md$/, '')).sort(),
    );
  });
});

describe('the pages of the site', () => {
  it('have no link that leads nowhere', () => {
    const { pages, files, problems } = stagePages();
    expect(problems).toEqual([]);
    expect(pages.size).toBeGreaterThan(30);
    expect(pages.get('index.md')).toContain('](./method.md)');
    expect(files.get('public/files/LICENSE.txt')).toBe('LICENSE');
    expect([...files.values()]).toContain('docs/images/report-light-1440.png');
  });

  it('link to pages, to copies of other files, and to anchors; code and comments are no links', () => {
    const others = Object.fromEntries(Object.keys(OTHER_PAGES).map((name) => [name, '# Title\n']));
    const folder = placed({
      ...others,
      'README.md':
        '# Top\n\n[a](docs/a.md#the-part) ![i](docs/images/i.png) [l](LICENSE) [x](https://x.org)\n<!-- [n](n.md) -->\n',
      LICENSE: 'text',
      'docs/images/i.png': 'png',
      'docs/a.md':
        '# A\n\n## The `part`\n\n[self](#the-part) `[c](c.md)` [top](../README.md)\n\n```md\n[d](d.md)\n## Not a part\n```\n',
    });
    const { pages, files, problems } = stagePages(folder);
    expect(problems).toEqual([]);
    expect(pages.get('index.md')).toBe(
      '# Top\n\n[a](./a.md#the-part) ![i](./images/i.png) [l](/files/LICENSE.txt) [x](https://x.org)\n',
    );
    expect(pages.get('a.md')).toContain('[self](#the-part) `[c](c.md)` [top](./index.md)');
    expect(pages.get('a.md')).toContain('[d](d.md)');
    expect([...files]).toEqual([
      ['images/i.png', 'docs/images/i.png'],
      ['public/files/LICENSE.txt', 'LICENSE'],
    ]);
    writeFileSync(
      join(folder, 'docs/b.md'),
      '# B\n\n[1](c.md) [2](a.md#not-a-part) [3](../../outside.md) [4](images)\n',
    );
    expect(stagePages(folder).problems).toEqual([
      'docs/b.md: c.md: there is no such file',
      'docs/b.md: a.md#not-a-part: no heading has this anchor',
      'docs/b.md: ../../outside.md: there is no such file',
      'docs/b.md: images: there is no such file',
    ]);
  });
});

describe('the check of a built site', () => {
  const sidebar = (links: string) => `<aside class="VPSidebar" a>${links}</aside>`;

  it('finds dead links and anchors, pages that no sidebar names, and what comes from another place', async () => {
    const folder = placed({
      'index.html': `${sidebar('<a href="/a.html">A</a><a href="/">top</a>')}<h2 id="one">1</h2><a class="x" href="./a.html#two">`,
      'a.html': `<script src="https://cdn.example/x.js"></script><h2 id="two">2</h2><a href="/#one"> <a href="/#three"> <a href="c.html"> <a href="https://x.org/y">`,
      'lost.html': '<a href="/a.html">',
      '404.html': '<a href="/nothing">',
      'assets/s.css': '@import "//fonts.example/f.css"; a { background: url(data:x) }',
    });
    const { found, pageCount, linkCount } = await checkSite(folder);
    expect(found.sort()).toEqual([
      'a.html: /#three: no such anchor',
      'a.html: c.html: there is no such page',
      'a.html: loads https://cdn.example/x.js',
      'assets/s.css: loads //fonts.example/f.css',
      'lost.html: no sidebar names it',
    ]);
    expect([pageCount, linkCount]).toEqual([3, 7]);
  });
});

it('the packages of the site are pinned: to one version, and by the hash of their bytes', () => {
  const read = (name: string) => JSON.parse(readFileSync(join(root, 'site', name), 'utf8'));
  const wanted = Object.values((read('package.json') as { devDependencies: Record<string, string> }).devDependencies);
  expect(wanted.filter((version) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([]);
  const { packages } = read('package-lock.json') as { packages: Record<string, { integrity?: string }> };
  const locked = Object.entries(packages).filter(([path]) => path !== '');
  expect(locked.length).toBeGreaterThan(100);
  expect(locked.filter(([, { integrity = '' }]) => !/^sha512-[\w+/]{86}==$/.test(integrity))).toEqual([]);
});
