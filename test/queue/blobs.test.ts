import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RedisServer, startRedis } from '../../lab/queue/redis-server.ts';
import { sha256Of } from '../../src/base/canonical-json.ts';
import { openBlobs } from '../../src/queue/blobs.ts';
import { openRawRedis, type RawRedis } from './raw-redis.ts';

let redis: RedisServer;
let raw: Awaited<ReturnType<typeof openRawRedis>>;
let client: RawRedis;

beforeAll(async () => {
  redis = await startRedis();
  raw = await openRawRedis(redis.port);
  client = raw.client;
});
afterAll(async () => {
  await raw?.close();
  await redis?.remove();
});

const blobsOf = (owner: string, keepSeconds?: number) =>
  openBlobs(client, {
    prefix: 'floodgate',
    owner,
    ...(keepSeconds === undefined ? {} : { keepSeconds }),
  });

/** Bytes in several pieces, the last a part of one. */
const LARGE = Uint8Array.from({ length: 2 ** 21 + 17 }, (_, i) => (i * 31) % 251);
const NO_LIMIT = 2 ** 30;

describe('bytes under their hash', () => {
  it.each([
    ['several pieces', LARGE],
    ['whole pieces', LARGE.subarray(0, 2 ** 21)],
    ['a few bytes', LARGE.subarray(0, 3)],
    ['none', LARGE.subarray(0, 0)],
  ])('come back: %s', async (_, bytes) => {
    const blobs = blobsOf('one');
    const hash = await blobs.put(bytes);
    expect(hash).toBe(sha256Of(bytes));
    expect(Buffer.compare(await blobs.get(hash, bytes.length), bytes)).toBe(0);
  });

  it('are no values above a mebibyte', async () => {
    await blobsOf('sizes').put(LARGE);
    const keys = await client.keys('floodgate:blobs:*');
    const lengths = await Promise.all(keys.map((key) => client.strlen(key)));
    expect(Math.max(...lengths)).toBe(2 ** 20);
  });

  it('are refused above the limit, changed, cut, and not there', async () => {
    const blobs = blobsOf('refused');
    const hash = await blobs.put(LARGE);
    await expect(blobs.get(hash, LARGE.length - 1)).rejects.toThrow(/got 2097169 of them, expected at most 2097168/);
    const [piece = ''] = (await client.keys(`floodgate:blobs:*:${hash}:1`)).filter((key) =>
      key.includes(sha256Of('refused').slice(0, 16)),
    );
    await client.setrange(piece, 5, 'x');
    await expect(blobs.get(hash, NO_LIMIT)).rejects.toThrow(/they are not those of/);
    await client.set(piece, 'short', 'EX', 60);
    await expect(blobs.get(hash, NO_LIMIT)).rejects.toThrow(/Redis does not hold the bytes/);
    await client.del(piece);
    await expect(blobs.get(hash, NO_LIMIT)).rejects.toThrow(/Redis does not hold the bytes/);
    await blobs.put(LARGE);
    expect((await blobs.get(hash, NO_LIMIT)).length).toBe(LARGE.length);
    await expect(blobs.get(sha256Of('other'), NO_LIMIT)).rejects.toThrow(/Redis does not hold the bytes/);
    await expect(blobs.get('../../etc', NO_LIMIT)).rejects.toThrow(/has 64 digits/);
  });

  it('of one owner are not forgotten by another, and leave nothing behind', async () => {
    const [mine, yours] = [blobsOf('mine'), blobsOf('yours')];
    const hash = await mine.put(LARGE);
    await yours.put(LARGE);
    await yours.forget(hash);
    await expect(yours.get(hash, NO_LIMIT)).rejects.toThrow(/does not hold/);
    expect((await mine.get(hash, NO_LIMIT)).length).toBe(LARGE.length);
    expect(await client.keys(`floodgate:blobs:${sha256Of('yours').slice(0, 16)}:*`)).toEqual([]);
  });

  it('expire, the entry before its pieces, and are kept by whoever puts them again', async () => {
    const blobs = blobsOf('expiring', 100);
    const hash = await blobs.put(LARGE);
    const entry = `floodgate:blobs:${sha256Of('expiring').slice(0, 16)}:${hash}`;
    expect(await client.ttl(entry)).toBeLessThanOrEqual(100);
    expect(await client.ttl(`${entry}:0`)).toBeGreaterThan(100);
    await client.expire(entry, 5);
    await blobs.put(LARGE);
    expect(await client.ttl(entry)).toBeGreaterThan(5);
  });
});
