import { execFile } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type DocBlock, root } from './doc-blocks.ts';

/** Files that a reader has by now, with an example of ours in the place of each. */
const READERS_FILES = { 'my-target.mjs': 'examples/extending/parrot-target.mjs' };

const ENDINGS: Readonly<Record<string, string>> = { js: '.mjs', mjs: '.mjs', ts: '.ts', json: '.ts' };

/** A row of the JSONL export with some of its keys: another key, or another type of value, is an error. */
const rowModule = (json: string): string => `import type { ExportedAttack } from '${root}/src/exports/export-row.ts';
type Part<T> = T extends readonly (infer E)[] ? readonly Part<E>[] : T extends object ? { [K in keyof T]?: Part<T[K]> } : T;
export default ${json} satisfies Part<ExportedAttack>;
`;

/** The options of the examples. Readers annotate nothing, and need not use what a block shows. */
const tsconfig = {
  extends: join(root, 'examples/tsconfig.json'),
  compilerOptions: {
    lib: ['es2023', 'dom'],
    noImplicitAny: false,
    noUnusedLocals: false,
    noUnusedParameters: false,
    rewriteRelativeImportExtensions: false,
    allowImportingTsExtensions: true,
  },
  include: ['*'],
};

export interface BlockModules {
  /** The module that a block became. */
  fileOf(block: DocBlock): string;
  /** Errors of the compiler over all modules, a line each: `docs-serve-md-41.mjs(3,5): error TS2305: …`. */
  typeErrors(): Promise<string[]>;
  remove(): void;
}

async function compile(folder: string): Promise<string[]> {
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const args = [tsc, '-p', folder, '--pretty', 'false'];
  const output = await promisify(execFile)(process.execPath, args, { cwd: folder }).catch((error) => {
    // The compiler ends with 1 or 2 where it finds errors; any other end is no answer.
    if (error.code !== 1 && error.code !== 2) throw error;
    return error as { readonly stdout: string; readonly stderr: string };
  });
  // Further lines of an error are indented.
  return `${output.stdout}${output.stderr}`.split('\n').filter((line) => /^\S/.test(line));
}

/** Each block as a module, in a folder where packages resolve as in the repository. */
export function writeModules(blocks: readonly DocBlock[]): BlockModules {
  const folder = mkdtempSync(join(tmpdir(), 'floodgate-blocks-'));
  const fileOf = ({ place, language }: DocBlock): string =>
    join(folder, `${place.replace(/\W+/g, '-')}${ENDINGS[language]}`);
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'), 'junction');
  for (const [name, example] of Object.entries(READERS_FILES)) copyFileSync(join(root, example), join(folder, name));
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(tsconfig));
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  for (const block of blocks)
    writeFileSync(fileOf(block), block.language === 'json' ? rowModule(block.text) : `${block.text}\nexport {};\n`);
  return { fileOf, typeErrors: () => compile(folder), remove: () => rmSync(folder, { recursive: true }) };
}
