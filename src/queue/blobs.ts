import { sha256Of } from '../base/canonical-json.ts';
import { FloodgateError } from '../base/errors.ts';

/** Bytes of one value in Redis. Other clients wait while Redis copies one, so it is small. */
const CHUNK_BYTES = 2 ** 20;
/** Largest blob. Stops a wrong caller from filling Redis; a reader names a smaller limit of its own. */
export const MAX_BLOB_BYTES = 2 ** 30;
/** How long Redis keeps a blob that nobody puts again. A learner that is killed forgets none. */
const KEEP_SECONDS = 24 * 3600;
/** Pieces outlive the entry that says they are all there. */
const SPARE_SECONDS = 300;

/** The part of ioredis that blobs need. */
export interface BlobRedis {
  set(key: string, value: Uint8Array | string, expiry: 'EX', seconds: number): Promise<unknown>;
  getrangeBuffer(key: string, start: number, end: number): Promise<Uint8Array>;
  expire(key: string, seconds: number): Promise<number>;
  del(key: string): Promise<unknown>;
}

/** Bytes in Redis under their SHA-256, of one owner: a run, or a study. A signed job names the hash. */
export interface Blobs {
  /**
   * Stores the bytes, or keeps those that are there from expiring. Returns their hash. May be repeated. The bytes must
   * not change meanwhile. @param hash theirs, where it is known.
   */
  put(bytes: Uint8Array, hash?: string): Promise<string>;
  /**
   * The bytes of a hash, which they are checked against. @param limit most bytes that the reader wants.
   * @throws FloodgateError `run` where they are not there, too many, or not those of the hash.
   */
  get(hash: string, limit: number): Promise<Uint8Array>;
  /** Redis may drop the bytes. */
  forget(hash: string): Promise<void>;
}

export interface BlobOptions {
  /** Of the queue: begins every key. */
  readonly prefix: string;
  /** Whose blobs they are. Two owners share none, so that one forgets nothing that the other needs. */
  readonly owner: string;
  readonly keepSeconds?: number;
}

const SHA256 = /^[0-9a-f]{64}$/;

/** Offsets of the pieces of so many bytes. */
function* offsetsOf(length: number): Iterable<number> {
  for (let from = 0; from < length; from += CHUNK_BYTES) yield from;
}

function missing(hash: string): FloodgateError {
  return new FloodgateError('run', `queue: Redis does not hold the bytes ${hash.slice(0, 12)}`, {
    hint: 'the learner puts them there again; start it with floodgate resume where it was stopped',
  });
}

class RedisBlobs implements Blobs {
  private readonly redis: BlobRedis;
  private readonly start: string;
  private readonly keepSeconds: number;

  constructor(redis: BlobRedis, { prefix, owner, keepSeconds = KEEP_SECONDS }: BlobOptions) {
    this.redis = redis;
    this.start = `${prefix}:blobs:${sha256Of(owner).slice(0, 16)}`;
    this.keepSeconds = keepSeconds;
  }

  /** Of the entry with the length, written last: where it is, all pieces are. */
  private entryOf(hash: string): string {
    if (!SHA256.test(hash)) throw new FloodgateError('run', 'queue: a hash of bytes has 64 digits');
    return `${this.start}:${hash}`;
  }

  private piecesOf(hash: string, length: number): string[] {
    return Array.from(offsetsOf(length), (from) => `${this.entryOf(hash)}:${from / CHUNK_BYTES}`);
  }

  private async isKept(hash: string, length: number): Promise<boolean> {
    for (const key of this.piecesOf(hash, length))
      if ((await this.redis.expire(key, this.keepSeconds + SPARE_SECONDS)) === 0) return false;
    return (await this.redis.expire(this.entryOf(hash), this.keepSeconds)) !== 0;
  }

  async put(bytes: Uint8Array, hash: string = sha256Of(bytes)): Promise<string> {
    if (bytes.length > MAX_BLOB_BYTES)
      throw new FloodgateError('run', `queue: got ${bytes.length} bytes, expected at most ${MAX_BLOB_BYTES}`);
    if (await this.isKept(hash, bytes.length)) return hash;
    for (const [i, key] of this.piecesOf(hash, bytes.length).entries()) {
      const { buffer, byteOffset, byteLength } = bytes.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES);
      const piece = Buffer.from(buffer, byteOffset, byteLength); // no copy
      await this.redis.set(key, piece, 'EX', this.keepSeconds + SPARE_SECONDS);
    }
    await this.redis.set(this.entryOf(hash), String(bytes.length), 'EX', this.keepSeconds);
    return hash;
  }

  /** @throws FloodgateError `run` for a length that is none, or above the limit. */
  private async lengthOf(hash: string, limit: number): Promise<number> {
    const text = Buffer.from(await this.redis.getrangeBuffer(this.entryOf(hash), 0, 15)).toString('latin1');
    if (text === '') throw missing(hash);
    if (!/^\d{1,10}$/.test(text) || Number(text) > Math.min(limit, MAX_BLOB_BYTES))
      throw new FloodgateError('run', `queue: bytes in Redis: got ${text} of them, expected at most ${limit}`);
    return Number(text);
  }

  async get(hash: string, limit: number): Promise<Uint8Array> {
    const length = await this.lengthOf(hash, limit);
    const bytes = new Uint8Array(length);
    for (const [i, key] of this.piecesOf(hash, length).entries()) {
      const from = i * CHUNK_BYTES;
      const expected = Math.min(CHUNK_BYTES, length - from);
      const piece = await this.redis.getrangeBuffer(key, 0, expected - 1); // however long the value is
      if (piece.length !== expected) throw missing(hash);
      bytes.set(piece, from);
    }
    if (sha256Of(bytes) !== hash)
      throw new FloodgateError('run', `queue: bytes in Redis: they are not those of ${hash.slice(0, 12)}`);
    return bytes;
  }

  async forget(hash: string): Promise<void> {
    const entry = this.entryOf(hash);
    const length = await this.lengthOf(hash, MAX_BLOB_BYTES).catch(() => 0);
    for (const key of [entry, ...this.piecesOf(hash, length)]) await this.redis.del(key);
  }
}

/** @param redis the connection of the queue, or of a worker. */
export function openBlobs(redis: BlobRedis, options: BlobOptions): Blobs {
  return new RedisBlobs(redis, options);
}
