import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FloodgateError } from '../src/base/errors.ts';
import { packageFile } from '../src/base/package-root.ts';
import { printResult } from '../src/cli/command-output.ts';
import type { CliContext } from '../src/cli/context.ts';

export interface ChildRun {
  /** The name of the program in errors. */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Variables beside those of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /** The command or file that helps when it cannot be started. */
  readonly hint?: string;
}

/**
 * Runs a program in the repository's root, its output on standard error, until it ends. An interrupt ends it.
 *
 * @throws FloodgateError `run` when it cannot be started or fails; `interrupted` on abort.
 */
export async function runChild(run: ChildRun, { signal }: Pick<CliContext, 'signal'>): Promise<void> {
  const child = spawn(run.command, run.args, {
    cwd: fileURLToPath(packageFile('.')),
    env: { ...process.env, ...run.env },
    stdio: ['ignore', 2, 2],
    // Its own process group: a Ctrl-C of the terminal reaches it once, from here.
    detached: process.platform !== 'win32',
  });
  const stop = (): void => void child.kill('SIGINT');
  const end = (): void => void child.kill('SIGKILL');
  signal.addEventListener('abort', stop);
  process.once('exit', end);
  try {
    const code = await exitCode(child, run);
    if (signal.aborted) throw new FloodgateError('interrupted', `${run.name}: interrupted`);
    if (code !== 0) throw new FloodgateError('run', `${run.name}: failed with exit code ${code}`);
  } finally {
    signal.removeEventListener('abort', stop);
    process.off('exit', end);
  }
}

async function exitCode(child: ChildProcess, { name, command, hint }: ChildRun): Promise<unknown> {
  try {
    const [code, killedBy] = await once(child, 'close');
    return code ?? killedBy;
  } catch (cause) {
    throw new FloodgateError('run', `${name}: ${command} cannot be started`, {
      cause,
      ...(hint === undefined ? {} : { hint }),
    });
  }
}

/** Runs the long tests of an experiment's own vitest config, those files alone whose names hold one of `filters`. */
export async function runVitest(
  plan: { readonly name: string; readonly filters: readonly string[]; readonly env: Readonly<Record<string, string>> },
  context: CliContext,
): Promise<void> {
  const { name, filters, env } = plan;
  const vitest = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs');
  const args = [vitest, 'run', '--config', `lab/${name}/vitest.config.ts`, ...filters];
  await runChild({ name, command: process.execPath, args, env }, context);
  printResult(context, { text: `${name}: every test passed`, json: { experiment: name, passed: true } });
}
