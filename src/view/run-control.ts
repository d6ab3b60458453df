import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { z } from 'zod';
import { FloodgateError } from '../base/errors.ts';
import { lockHolder, signalLockHolder } from '../base/lock.ts';
import type { RunFolder } from '../runs/run-folder.ts';
import { ApiError } from '../serve/api-error.ts';
import { readJson } from '../serve/http-guard.ts';

/**
 * `pause` ends the work after the step in hand, `stop` at once: the first and the second Ctrl-C. Neither loses an answer
 * that was stored. `resume` starts a process of its own, which outlives the viewer.
 */
const wish = z.strictObject({ action: z.enum(['pause', 'stop', 'resume']) });
type Action = z.infer<typeof wish>['action'];

/** Two equal signals in one moment would be one. */
const SIGNALS: Readonly<Record<Exclude<Action, 'resume'>, readonly NodeJS.Signals[]>> = {
  pause: ['SIGINT'],
  stop: ['SIGINT', 'SIGTERM'],
};

const MAX_WISH_BYTES = 100;
/** A resume has the run by then, or has said why not; else it is still on its way. */
const RESUME_MS = 20_000;
const POLL_MS = 100;

async function endRun({ lockPath }: RunFolder, action: Exclude<Action, 'resume'>): Promise<void> {
  try {
    if (await signalLockHolder(lockPath, SIGNALS[action])) return;
  } catch (error) {
    if (error instanceof FloodgateError) throw new ApiError(409, error.message, { code: 'elsewhere' });
    throw error;
  }
  throw new ApiError(409, 'no process works on this run', { code: 'not_running' });
}

/** The last error that a command has written behind `offset`. */
function errorIn(path: string, offset: number): string {
  const lines = readFileSync(path).subarray(offset).toString('utf8').split('\n');
  return lines.findLast((line) => /^(error|stopped): /.test(line)) ?? 'the command ended without a word';
}

/** @param cli path of the command line's script. */
async function resumeRun(folder: RunFolder, cli: string): Promise<void> {
  if ((await lockHolder(folder.lockPath)) !== undefined)
    throw new ApiError(409, 'a process works on this run', { code: 'running' });
  const logPath = join(folder.path, 'resume.log');
  const log = openSync(logPath, 'a', 0o600);
  const offset = fstatSync(log).size;
  const child = spawn(process.execPath, [cli, 'resume', folder.path], { detached: true, stdio: ['ignore', log, log] });
  closeSync(log);
  child.unref();
  const ended = once(child, 'exit').then(([code]) => code as number | null);
  for (let waited = 0; waited < RESUME_MS; waited += POLL_MS) {
    const code = await Promise.race([ended, wait(POLL_MS, undefined)]);
    if (code === 0) return;
    if (code !== undefined) throw new ApiError(409, errorIn(logPath, offset), { code: 'not_resumed' });
    if ((await lockHolder(folder.lockPath)) === child.pid) return;
  }
}

/** Does what a request asks of a run. @throws ApiError 400, 409. */
export async function controlRun(folder: RunFolder, request: IncomingMessage, cli: string): Promise<object> {
  const sent = wish.safeParse(await readJson(request, MAX_WISH_BYTES));
  if (!sent.success) throw new ApiError(400, 'expected the action pause, stop or resume', { code: 'bad_action' });
  const { action } = sent.data;
  if (action === 'resume') await resumeRun(folder, cli);
  else await endRun(folder, action);
  return { action };
}
