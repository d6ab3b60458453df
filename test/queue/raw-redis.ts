import { Queue } from 'bullmq';
import type { BlobRedis } from '../../src/queue/blobs.ts';

/** Commands of Redis by which a test looks behind the queue. */
export interface RawRedis extends BlobRedis {
  keys(pattern: string): Promise<string[]>;
  strlen(key: string): Promise<number>;
  hget(key: string, field: string): Promise<string | null>;
  ttl(key: string): Promise<number>;
  setrange(key: string, offset: number, text: string): Promise<unknown>;
  flushall(): Promise<unknown>;
}

/** A connection of its own. Close it when done. */
export async function openRawRedis(port: number): Promise<{ readonly client: RawRedis; close(): Promise<void> }> {
  const queue = new Queue('raw', { connection: { port } });
  return { client: (await queue.client) as unknown as RawRedis, close: () => queue.close() };
}
