import type { RandomStream } from '../../src/base/random.ts';
import { pick } from './fuzz-target.ts';

/** Values at which counts, lengths and offsets break. */
const EDGES: readonly bigint[] = [
  0n,
  1n,
  2n,
  7n,
  255n,
  65_535n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
];

/** Pieces that text parsers stumble over: invalid UTF-8, NUL, byte-order marks, lone surrogates, quotes, line ends. */
const PIECES: readonly Buffer[] = [
  Buffer.from([0]),
  Buffer.from([0xff]),
  Buffer.from([0xc0, 0x80]),
  Buffer.from([0xed, 0xa0, 0x80]),
  Buffer.from([0xf4, 0x90, 0x80, 0x80]),
  Buffer.from([0xef, 0xbb, 0xbf]),
  Buffer.from([0xe2, 0x80, 0xa8]),
  ...[
    '"',
    "'",
    '\\',
    '\r',
    '\n',
    '\t',
    ',',
    ':',
    '{',
    '}',
    '[',
    ']',
    '-',
    '&',
    '*',
    '!',
    '%',
    '#',
    '|',
    '>',
    '..',
    '/',
  ].map((text) => Buffer.from(text)),
];

type Mutation = (bytes: Buffer, stream: RandomStream) => Buffer;

function splice(bytes: Buffer, at: number, removed: number, inserted: Uint8Array): Buffer {
  return Buffer.concat([bytes.subarray(0, at), inserted, bytes.subarray(at + removed)]);
}

const flip: Mutation = (bytes, stream) => {
  const at = stream.nextInt(bytes.length);
  bytes[at] = (bytes[at] as number) ^ (1 << stream.nextInt(8));
  return bytes;
};

const setByte: Mutation = (bytes, stream) => {
  bytes[stream.nextInt(bytes.length)] = stream.nextInt(256);
  return bytes;
};

const setInteger: Mutation = (bytes, stream) => {
  const width = pick(stream, [1, 2, 4, 8]);
  if (bytes.length < width) return bytes;
  // Headers are at the beginning: half of the numbers go there.
  const reach = stream.nextInt(2) === 0 ? Math.min(bytes.length, 64) : bytes.length;
  const at = stream.nextInt(Math.max(1, reach - width + 1));
  const little = Buffer.alloc(8);
  little.writeBigUInt64LE(pick(stream, EDGES));
  little.copy(bytes, at, 0, width);
  return bytes;
};

/** A small change of a number in the bytes: off by one, doubled. */
const nudge: Mutation = (bytes, stream) => {
  const at = stream.nextInt(bytes.length);
  bytes[at] = (bytes[at] as number) + pick(stream, [1, -1, 2, 8, 16, 128]);
  return bytes;
};

const cut: Mutation = (bytes, stream) => bytes.subarray(0, stream.nextInt(bytes.length + 1));

const remove: Mutation = (bytes, stream) => {
  const at = stream.nextInt(bytes.length);
  return splice(bytes, at, stream.nextInt(Math.min(64, bytes.length - at) + 1), Buffer.alloc(0));
};

const repeat: Mutation = (bytes, stream) => {
  const at = stream.nextInt(bytes.length);
  const piece = bytes.subarray(at, at + 1 + stream.nextInt(64));
  const times = pick(stream, [1, 2, 8, 64]);
  return splice(bytes, at, 0, Buffer.concat(Array.from({ length: times }, () => piece)));
};

const insert: Mutation = (bytes, stream) => splice(bytes, stream.nextInt(bytes.length + 1), 0, pick(stream, PIECES));

const move: Mutation = (bytes, stream) => {
  const from = stream.nextInt(bytes.length);
  const piece = Buffer.from(bytes.subarray(from, from + 1 + stream.nextInt(32)));
  return splice(bytes, stream.nextInt(bytes.length), piece.length, piece);
};

const MUTATIONS: readonly Mutation[] = [
  flip,
  setByte,
  setInteger,
  setInteger,
  nudge,
  cut,
  remove,
  repeat,
  insert,
  move,
];

/** A copy of `bytes` with one to `most` mutations; never longer than 64 KiB. */
export function mutateBytes(bytes: Buffer, stream: RandomStream, most = 4): Buffer {
  let result: Buffer = Buffer.from(bytes);
  for (let left = 1 + stream.nextInt(most); left > 0; left--) {
    if (result.length > 0) result = pick(stream, MUTATIONS)(result, stream);
  }
  return Buffer.from(result.subarray(0, 65_536));
}
