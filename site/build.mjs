// Builds the site: documents of the repository, and the reference of both public entry points.
//
//   npm run docs [-- --base /floodgate/]
//
// Asks no network. Fails for a link that leads nowhere, a page that no sidebar names, and anything a page would load
// from another place.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { checkSite } from './check-site.mjs';
import { API } from './sidebar.mjs';
import { anchorOf, headings, ROOT, stagePages } from './stage-pages.mjs';

const SITE = import.meta.dirname;
const PAGES = join(SITE, '.build/pages');
const BUILT = join(SITE, '.build/site');

function stop(problems) {
  for (const problem of problems) process.stderr.write(`${problem}\n`);
  process.exit(1);
}

function run(program, args) {
  const { status, stderr } = spawnSync(process.execPath, [join(SITE, 'node_modules', program), ...args], {
    cwd: SITE,
    stdio: ['ignore', 'inherit', 'pipe'],
    encoding: 'utf8',
  });
  process.stderr.write(stderr);
  // VitePress prints what a page could not compute, leaves a hole there, and ends with 0.
  if (status !== 0 || /^\w*Error: /m.test(stderr)) stop([`${program} ended with ${status}, see above`]);
}

if (!existsSync(join(SITE, 'node_modules/vitepress')))
  stop(['The site has packages of its own. Bring them with:  npm ci --ignore-scripts --prefix site']);

rmSync(join(SITE, '.build'), { recursive: true, force: true });
const { pages, files, problems } = stagePages();
if (problems.length > 0) stop(problems);
const write = (place, fill) => {
  const path = join(PAGES, place);
  mkdirSync(dirname(path), { recursive: true });
  fill(path);
};
for (const [page, text] of pages) write(page, (path) => writeFileSync(path, text));
for (const [place, file] of files) write(place, (path) => cpSync(join(ROOT, file), path));

run('typedoc/bin/typedoc', ['--options', 'typedoc.json', '--treatWarningsAsErrors']);
/**
 * typedoc-plugin-markdown counts a name in a table as a heading, and then links to a second one that is not there.
 * A link to `#name-1` becomes one to `#name` where only that exists; the check at the end reads all that remains.
 */
function repairReference(path) {
  const text = readFileSync(path, 'utf8');
  const names = headings(text).map(anchorOf);
  const countOf = (name) => names.filter((each) => each === name).length;
  const repaired = text.replace(/(?<=\]\(#)([\w-]+)-(\d+)(?=\))/g, (anchor, name, number) =>
    names.includes(anchor) || countOf(name) === 0 || countOf(name) > Number(number) ? anchor : name,
  );
  writeFileSync(path, repaired);
}
for (const name of readdirSync(join(PAGES, API), { recursive: true }))
  if (name.endsWith('.md')) repairReference(join(PAGES, API, name));

run('vitepress/bin/vitepress.js', ['build', '.', ...process.argv.slice(2)]);

const { found, pageCount, linkCount } = await checkSite(BUILT, process.argv.slice(2));
if (found.length > 0) stop(found);
process.stdout.write(`${pageCount} pages and ${linkCount} links are well: site/.build/site\n`);
