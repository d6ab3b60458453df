import { FloodgateError } from '../../base/errors.ts';
import { countJsonValues, parseJson } from './json-file.ts';

/** Bytes of one value, for every dtype that safetensors names and that a weight file may contain. */
const DTYPE_BYTES = {
  F32: 4,
  F16: 2,
  BF16: 2,
  F64: 8,
  I64: 8,
  U64: 8,
  I32: 4,
  U32: 4,
  I16: 2,
  U16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
} as const;

export type SafetensorsDtype = keyof typeof DTYPE_BYTES;

export interface SafetensorsEntry {
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  /** Bytes from the start of the file. */
  readonly offset: number;
  readonly byteLength: number;
}

export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, SafetensorsEntry>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** A header of gigabytes, parsed as JSON: the reference allows 100 MB, the largest real one has some 5 MB. */
const MAX_HEADER_BYTES = 32 * 1024 * 1024;
/** Millions of empty lists, which take twenty times their text in memory: a real tensor has some eight values. */
const MAX_HEADER_VALUES = 1_000_000;
/** Shapes of thousands of ones. */
const MAX_DIMENSIONS = 8;
/** Files that we write start their data at a multiple of this, so that vectors in a mapped file are aligned. */
const DATA_ALIGNMENT = 64;
/** A name of megabytes, repeated in every message about it. */
const MAX_SHOWN = 120;

function fail(name: string, what: string): FloodgateError {
  return new FloodgateError('format', `read ${name}: ${what}`);
}

/** Shows a value of the file in a message, however long or deeply nested it is. */
function shown(value: unknown): string {
  if (typeof value !== 'string') return value === null ? 'null' : typeof value;
  return JSON.stringify(value.length > MAX_SHOWN ? `${value.slice(0, MAX_SHOWN)}...` : value);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isDtype(value: unknown): value is SafetensorsDtype {
  return typeof value === 'string' && Object.hasOwn(DTYPE_BYTES, value);
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

/**
 * Length in bytes of the JSON header, from the first 8 bytes of a file of `fileSize` bytes.
 * @throws `format` when it is longer than the file or than `MAX_HEADER_BYTES`.
 */
export function parseHeaderLength(prefix: Buffer, fileSize: number, name: string): number {
  if (prefix.length < 8) throw fail(name, `file has ${fileSize} bytes, too few for a safetensors file`);
  const length = prefix.readBigUInt64LE(0);
  if (length > BigInt(Math.min(fileSize - 8, MAX_HEADER_BYTES))) {
    throw fail(name, `header length is ${length}, expected at most ${Math.min(fileSize - 8, MAX_HEADER_BYTES)}`);
  }
  return Number(length);
}

function parseMetadata(value: unknown, name: string): Map<string, string> {
  if (!isRecord(value)) throw fail(name, '__metadata__ is not an object');
  const metadata = new Map<string, string>();
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') throw fail(name, `__metadata__ ${shown(key)} is not a string`);
    metadata.set(key, text);
  }
  return metadata;
}

function parseEntry(value: unknown, tensor: string, dataStart: number, name: string): SafetensorsEntry {
  if (!isRecord(value)) throw fail(name, `tensor ${shown(tensor)} is not described by an object`);
  const { dtype, shape, data_offsets: range } = value;
  if (!isDtype(dtype)) {
    const known = Object.keys(DTYPE_BYTES).join(', ');
    throw fail(name, `tensor ${shown(tensor)} has unsupported dtype ${shown(dtype)}, expected one of ${known}`);
  }
  if (!Array.isArray(shape) || shape.length > MAX_DIMENSIONS || !shape.every(isCount)) {
    throw fail(name, `tensor ${shown(tensor)} has a bad shape, expected up to ${MAX_DIMENSIONS} sizes`);
  }
  if (!Array.isArray(range) || range.length !== 2 || !range.every(isCount)) {
    throw fail(name, `tensor ${shown(tensor)} has bad data_offsets, expected [begin, end]`);
  }
  const [begin, end] = range as [number, number];
  const byteLength = shape.reduce((product: number, size) => product * size, DTYPE_BYTES[dtype]);
  if (end - begin !== byteLength) {
    throw fail(
      name,
      `tensor ${shown(tensor)} takes ${end - begin} bytes, expected ${byteLength} for ${dtype} [${shape}]`,
    );
  }
  return { dtype, shape, offset: dataStart + begin, byteLength };
}

/**
 * Checks the layout as the reference reader does: tensors follow each other without holes or overlap, up to the end.
 */
function checkLayout(
  tensors: ReadonlyMap<string, SafetensorsEntry>,
  dataStart: number,
  fileSize: number,
  name: string,
) {
  let end = dataStart;
  const byOffset = [...tensors].sort(([, a], [, b]) => a.offset - b.offset || a.byteLength - b.byteLength);
  for (const [tensor, entry] of byOffset) {
    if (entry.offset !== end)
      throw fail(name, `tensor ${shown(tensor)} starts at byte ${entry.offset}, expected ${end}`);
    end += entry.byteLength;
  }
  if (end !== fileSize) throw fail(name, `tensors end at byte ${end}, but the file has ${fileSize} bytes`);
}

/**
 * Parses the JSON header of a safetensors file. Offsets count from the start of the file.
 * @throws `format` when anything in it does not hold.
 */
export function parseSafetensorsHeader(json: Buffer, fileSize: number, name = 'safetensors file'): SafetensorsHeader {
  const values = countJsonValues(json);
  if (values > MAX_HEADER_VALUES) {
    throw fail(name, `header has ${values} values, expected at most ${MAX_HEADER_VALUES}`);
  }
  const value = parseJson(json.toString('utf8'), `read ${name}: header`);
  if (!isRecord(value)) throw fail(name, 'header is not a JSON object');
  const dataStart = 8 + json.length;
  const tensors = new Map<string, SafetensorsEntry>();
  let metadata = new Map<string, string>();
  for (const [key, entry] of Object.entries(value)) {
    if (key === '__metadata__') metadata = parseMetadata(entry, name);
    else tensors.set(key, parseEntry(entry, key, dataStart, name));
  }
  checkLayout(tensors, dataStart, fileSize, name);
  return { tensors, metadata };
}

/** A tensor to be written: its values follow those of the tensor before it. */
export interface PlannedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** F32 when absent. */
  readonly dtype?: 'F32' | 'U8';
}

/** Bytes of one value of a planned tensor. */
export function valueBytes(dtype: PlannedTensor['dtype'] = 'F32'): number {
  return DTYPE_BYTES[dtype];
}

/** Returns the first bytes of a file: length, JSON, padding. The tensors follow in the given order. */
function encodeHeader(
  tensors: readonly PlannedTensor[],
  metadata: ReadonlyMap<string, string>,
): { readonly header: Buffer; readonly fileSize: number } {
  const entries: [string, unknown][] = [];
  if (metadata.size > 0) entries.push(['__metadata__', Object.fromEntries(metadata)]);
  let end = 0;
  for (const { name, shape, dtype = 'F32' } of tensors) {
    const begin = end;
    end += shape.reduce((product, size) => product * size, DTYPE_BYTES[dtype]);
    entries.push([name, { dtype, shape, data_offsets: [begin, end] }]);
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)), 'utf8');
  const dataStart = Math.ceil((8 + json.length) / DATA_ALIGNMENT) * DATA_ALIGNMENT;
  const header = Buffer.alloc(dataStart, ' '); // the format allows spaces after the JSON
  header.writeBigUInt64LE(BigInt(dataStart - 8), 0);
  json.copy(header, 8);
  return { header, fileSize: dataStart + end };
}

/**
 * Returns the first bytes of the file `path`, which our own reader accepts: every limit of the reader is one of the
 * writer.
 * @throws `format` when the reader would refuse the file.
 */
export function buildSafetensorsHeader(
  path: string,
  tensors: readonly PlannedTensor[],
  metadata: ReadonlyMap<string, string>,
): Buffer {
  try {
    const odd = tensors.find(({ shape }) => !shape.every(isCount));
    if (odd !== undefined) throw fail(path, `tensor ${shown(odd.name)} has a bad shape, got [${odd.shape}]`);
    const { header, fileSize } = encodeHeader(tensors, metadata);
    const length = parseHeaderLength(header, fileSize, path);
    parseSafetensorsHeader(header.subarray(8, 8 + length), fileSize, path);
    return header;
  } catch (cause) {
    if (!(cause instanceof FloodgateError)) throw cause;
    throw new FloodgateError('format', `write ${path}: no reader would accept it: ${cause.message}`, { cause });
  }
}
