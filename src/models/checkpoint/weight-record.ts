import { dirname, join } from 'node:path';
import { z } from 'zod';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import { readJsonFile } from '../formats/json-file.ts';
import { sha256OfFile, stampOfFile } from '../sources/file-hash.ts';

/** Content of a cached weight file when Floodgate wrote or last hashed it. */
const recordSchema = z.object({ sha256: z.string(), stamp: z.string() });
type WeightRecord = z.infer<typeof recordSchema>;

/** A record of gigabytes. */
const MAX_RECORD_BYTES = 4096;

function recordPathOf(weightPath: string): string {
  return join(dirname(weightPath), 'weights.json');
}

async function readRecord(weightPath: string): Promise<WeightRecord | undefined> {
  const value = await readJsonFile(recordPathOf(weightPath), MAX_RECORD_BYTES).catch(() => undefined);
  return recordSchema.safeParse(value).data;
}

/** A record saves time only: a read-only cache goes without a new one. */
async function writeRecord(weightPath: string, record: WeightRecord): Promise<void> {
  const text = `${JSON.stringify(record)}\n`;
  await writeFileAtomically(recordPathOf(weightPath), (file) => file.writeFile(text)).catch(() => undefined);
}

/** Records the content of a weight file that was just written. `sha256` is that of its bytes, where it is known. */
export async function recordWeights(weightPath: string, sha256?: string): Promise<void> {
  const stamp = await stampOfFile(weightPath); // before hashing: a later write changes it
  await writeRecord(weightPath, { sha256: sha256 ?? (await sha256OfFile(weightPath)), stamp });
}

/**
 * Whether a cached weight file holds its recorded content, and that is `expected` where given. Hashes it only when its
 * stamp is not the recorded one.
 */
export async function isAsRecorded(weightPath: string, expected?: string): Promise<boolean> {
  const record = await readRecord(weightPath);
  if (record === undefined || (expected !== undefined && record.sha256 !== expected)) return false;
  const stamp = await stampOfFile(weightPath).catch(() => undefined);
  if (stamp === undefined || stamp === record.stamp) return stamp !== undefined;
  if ((await sha256OfFile(weightPath)) !== record.sha256) return false;
  await writeRecord(weightPath, { ...record, stamp });
  return true;
}
