// Makes the programs of the package from the sources: a few files in a folder (dist/ where none is given), so that a
// command opens a dozen files instead of four hundred: half of the time of a short command goes into finding and reading
// them (docs/performance.md). Types are removed, not checked. Called by `npm run build:programs`.
//
// The programs and the two entries of the library keep their places; what they share is in dist/chunks/. All of them are
// bundled at once, so that a command and a module of the user's that imports `floodgate` have the same classes. zod is
// joined too; its licence is copied.
import { copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const root = new URL('../', import.meta.url);
const path = (name) => fileURLToPath(new URL(name, root));
const folder = process.argv[2] ?? path('dist');
const { dependencies, peerDependencies } = JSON.parse(readFileSync(path('package.json'), 'utf8'));
const JOINED = 'zod';
const apart = Object.keys({ ...dependencies, ...peerDependencies }).filter((name) => name !== JOINED);

const ENTRIES = ['cli/main', 'index', 'engine/index', 'view/compare-worker', 'workers/run-process'];

const bundle = await rolldown({
  input: Object.fromEntries(ENTRIES.map((name) => [name, path(`src/${name}.ts`)])),
  platform: 'node',
  transform: { target: 'es2023' }, // as in tsconfig.json: newer syntax, such as `using`, is written anew
  external: (id) => id.startsWith('node:') || apart.some((name) => id === name || id.startsWith(`${name}/`)),
  onLog(level, log) {
    throw new Error(`bundle: ${level}: ${log.message}`); // an import that it cannot find would fail at run time
  },
});
await bundle.write({
  dir: folder,
  format: 'esm',
  entryFileNames: '[name].js',
  chunkFileNames: 'chunks/[name]-[hash].js',
  // Comments and white space are a third of what a start reads. Names stay, for the traces of errors.
  minify: { compress: false, mangle: false, codegen: { removeWhitespace: true } },
});
await bundle.close();
copyFileSync(path(`node_modules/${JOINED}/LICENSE`), join(folder, `chunks/${JOINED}.LICENSE`));
