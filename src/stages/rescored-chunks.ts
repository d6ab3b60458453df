import { existsSync } from 'node:fs';
import { open, readFile, rm } from 'node:fs/promises';
import { toWriteError, writeFileAtomically } from '../base/atomic-file.ts';
import type { CollectedAttack } from '../learning/loops/collection-weights.ts';
import type { Calls } from '../trial/ledger.ts';

/** One chunk of a collection that was scored again. */
export interface RescoredChunk {
  /** Those that passed again. */
  readonly kept: readonly CollectedAttack[];
  /** Calls of this chunk. */
  readonly calls: Calls;
}

/** The finished chunks of a collection, a line of JSON each: what a kill leaves of a work that has no update. */
export interface ChunkLog {
  /** Chunks of earlier starts, in order. */
  readonly finished: readonly RescoredChunk[];
  /** Stores one more; it is on disk when this returns. */
  append(chunk: RescoredChunk): Promise<void>;
  /** Removes the file: the whole collection is stored. */
  remove(): Promise<void>;
}

/** Whole lines of the text; a kill may leave half of one at the end. */
function wholeLines(text: string): string[] {
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .slice(0, -1);
}

/** Opens the log at `path`, made by the first `append`. @throws FloodgateError `store` when the disk refuses. */
export async function openChunkLog(path: string): Promise<ChunkLog> {
  const text = existsSync(path) ? await readFile(path, 'utf8') : '';
  const lines = wholeLines(text);
  const whole = lines.map((line) => `${line}\n`).join('');
  if (whole !== text) await writeFileAtomically(path, (file) => file.writeFile(whole));
  return {
    finished: lines.map((line) => JSON.parse(line) as RescoredChunk),
    append: async (chunk) => {
      try {
        await using file = await open(path, 'a');
        await file.appendFile(`${JSON.stringify(chunk)}\n`);
        await file.sync();
      } catch (error) {
        throw toWriteError(path, error);
      }
    },
    remove: () => rm(path, { force: true }),
  };
}
