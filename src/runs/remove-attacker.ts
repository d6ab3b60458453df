import { lstat, readdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { toWriteError } from '../base/atomic-file.ts';
import { FloodgateError } from '../base/errors.ts';
import { ATTACKER_PARTS, findAttackerFolder } from './attacker-folder.ts';

/**
 * Deletes an imported attacker and returns its name. It goes by name only, so that no other folder can be meant.
 * @throws FloodgateError `usage` when there is none; `run` when it is a link, or holds a file of somebody else. Nothing
 * is deleted then.
 */
export async function removeAttacker(text: string, runsFolder: string): Promise<string> {
  const name = text.startsWith('attacker:') ? text.slice('attacker:'.length) : text;
  const folder = await findAttackerFolder(`attacker:${name}`, runsFolder);
  if (folder === undefined) throw new FloodgateError('usage', `remove attacker ${name}: there is none`);
  if ((await lstat(folder.path)).isSymbolicLink())
    throw new FloodgateError('run', `remove attacker ${name}: ${folder.path} is a link, remove the link itself`);
  const stranger = (await readdir(folder.path)).find((entry) => !ATTACKER_PARTS.includes(entry));
  if (stranger !== undefined)
    throw new FloodgateError(
      'run',
      `remove attacker ${name}: ${folder.path} holds ${JSON.stringify(stranger)}, which Floodgate did not write`,
      { hint: 'move it away' },
    );
  try {
    // The file that makes it an attacker goes last, so that a removal that was killed can be repeated.
    for (const part of ATTACKER_PARTS) await rm(join(folder.path, part), { force: true });
    await rmdir(folder.path);
  } catch (error) {
    throw toWriteError(folder.path, error);
  }
  return name;
}
