import { existsSync, readFileSync } from 'node:fs';
import { defineConfig } from 'vitepress';
import { API, GROUPS } from '../sidebar.mjs';
import { anchorOf, stagePages, titleOf } from '../stage-pages.mjs';

const { pages } = stagePages();
const documents = GROUPS.map(({ title, pages: names }) => ({
  text: title,
  collapsed: false,
  items: names.map((name) => ({
    text: titleOf(pages.get(`${name}.md`) ?? ''),
    link: name === 'index' ? '/' : `/${name}`,
  })),
}));

/** Written by typedoc: its pages, those of an entry point below another one included. */
const apiFile = new URL(`../.build/pages/${API}/typedoc-sidebar.json`, import.meta.url);
const flat = ({ text, link, items = [] }, above = '') => [
  { text: above + text, link },
  ...items.flatMap((item) => flat(item, `${above}${text}/`)),
];
const api = existsSync(apiFile) ? JSON.parse(readFileSync(apiFile, 'utf8')).flatMap((item) => flat(item)) : [];

/** Vue would compute what is in two braces; a document means the braces. */
function keepBraces(md) {
  for (const rule of ['text', 'code_inline']) {
    const render = md.renderer.rules[rule];
    md.renderer.rules[rule] = (...args) => render(...args).replaceAll('{{', '&#123;&#123;');
  }
}

/** Documents hold no markup: a "<" in a sentence is a "<". The reference has anchors in its tables. */
function readMarkupInReference(md) {
  md.core.ruler.before('normalize', 'markup', ({ env }) => {
    md.options.html = env.relativePath?.startsWith(`${API}/`) ?? false;
  });
}

export default defineConfig({
  title: 'Floodgate',
  description: 'Finds the many different ways a language model can be made to misbehave.',
  // Without one, a browser asks for a file that is not there.
  head: [['link', { rel: 'icon', href: 'data:,' }]],
  srcDir: '.build/pages',
  outDir: '.build/site',
  cacheDir: '.build/cache',
  ignoreDeadLinks: false,
  markdown: {
    anchor: { slugify: anchorOf },
    toc: { slugify: anchorOf },
    config: (md) => {
      keepBraces(md);
      readMarkupInReference(md);
    },
  },
  themeConfig: {
    search: { provider: 'local' },
    outline: [2, 3],
    nav: [
      { text: 'Quick start', link: '/quick-start' },
      { text: 'Config', link: '/config' },
      { text: 'API', link: `/${API}/` },
    ],
    sidebar: [...documents, { text: 'Reference', items: [{ text: 'Entry points', link: `/${API}/` }, ...api] }],
  },
});
