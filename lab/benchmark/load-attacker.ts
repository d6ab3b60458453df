import { mkdtemp, rename, rm } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { FloodgateError } from '../../src/base/errors.ts';
import { packageFile } from '../../src/base/package-root.ts';
import { runChild } from '../child-process.ts';
import type { ProposingAttacker } from './score-attacker.ts';

const COMPILER = ['--ignoreConfig', '--noCheck', '--noResolve', '--module', 'esnext', '--target', 'es2022'];

/** Compiles the module into a folder beside it, so that it finds its packages; the folder is removed at once. */
async function importTypescript(path: string, signal: AbortSignal): Promise<unknown> {
  const compiler = fileURLToPath(packageFile('node_modules/typescript/bin/tsc'));
  const folder = await mkdtemp(join(dirname(path), '.attacker-'));
  try {
    const args = [compiler, path, ...COMPILER, '--outDir', folder];
    await runChild({ name: `compile ${basename(path)}`, command: process.execPath, args }, { signal });
    const script = join(folder, `${basename(path, '.ts')}.mjs`);
    await rename(join(folder, `${basename(path, '.ts')}.js`), script);
    return await import(/* @vite-ignore */ pathToFileURL(script).href);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * Loads the attacker that a module exports by default.
 *
 * @throws FloodgateError `interrupted` on abort; `usage` for a file that cannot be loaded, or that exports no attacker.
 */
export async function loadAttacker(file: string, signal: AbortSignal): Promise<ProposingAttacker> {
  const path = resolve(file);
  const hint = 'docs/benchmark.md: export default { name, propose({ count, history, stream }) }';
  let loaded: unknown;
  try {
    loaded = await (extname(path) === '.ts'
      ? importTypescript(path, signal)
      : import(/* @vite-ignore */ pathToFileURL(path).href));
  } catch (cause) {
    if (signal.aborted) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new FloodgateError('usage', `${file}: it cannot be loaded: ${why}`, { hint, cause });
  }
  const attacker = (loaded as { readonly default?: Partial<ProposingAttacker> }).default;
  const isAttacker = typeof attacker?.name === 'string' && typeof attacker.propose === 'function';
  if (isAttacker) return attacker as ProposingAttacker;
  throw new FloodgateError('usage', `${file}: it exports no attacker by default`, { hint });
}
