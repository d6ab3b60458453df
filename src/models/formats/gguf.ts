import { GGML_TYPES, type GgmlType } from './dequantize.ts';
import { ByteCursor, type GgufValue, PrefixTooShort, readGgufString, readGgufValue } from './gguf-values.ts';
import { openRandomAccessFile } from './random-access-file.ts';

export type { GgufValue } from './gguf-values.ts';

/** One tensor of a GGUF file, its range already checked against the file. */
export interface GgufTensor {
  readonly name: string;
  /** Row-major (the file lists dimensions fastest first; this is the reverse). */
  readonly shape: readonly number[];
  readonly type: GgmlType;
  /** Bytes from the start of the file. */
  readonly offset: number;
  readonly byteLength: number;
}

export interface GgufFile {
  readonly version: number;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

/** `GGUF` read as a little-endian integer. */
const MAGIC = 0x46554747;
/**
 * A header that makes us loop or allocate for hours: real files have some tens of keys and some thousands of tensors.
 */
const MAX_METADATA_ENTRIES = 65_536;
const MAX_TENSORS = 262_144;
/** ggml's own limit (`GGML_MAX_DIMS`). */
const MAX_DIMENSIONS = 4;
/** A header of gigabytes read into memory: the largest real one (a 300,000-token vocabulary) has some 12 MB. */
const MAX_HEADER_BYTES = 256 * 1024 * 1024;
/** A huge alignment, to push the data offset beyond exact integers. */
const MAX_ALIGNMENT = 65_536;
const DEFAULT_ALIGNMENT = 32;
const FIRST_PREFIX_BYTES = 4 * 1024 * 1024;

function readMetadata(cursor: ByteCursor, count: number): Map<string, GgufValue> {
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < count; i++) {
    const key = readGgufString(cursor);
    if (metadata.has(key)) throw cursor.fail(`metadata key ${JSON.stringify(key)} occurs twice`);
    metadata.set(key, readGgufValue(cursor, cursor.uint32()));
  }
  return metadata;
}

function readAlignment(cursor: ByteCursor, metadata: ReadonlyMap<string, GgufValue>): number {
  const value = metadata.get('general.alignment') ?? DEFAULT_ALIGNMENT;
  const isPowerOfTwo = typeof value === 'number' && Number.isInteger(value) && value > 0 && (value & (value - 1)) === 0;
  if (!isPowerOfTwo || value > MAX_ALIGNMENT) {
    throw cursor.fail(`general.alignment is ${String(value)}, expected a power of two up to ${MAX_ALIGNMENT}`);
  }
  return value;
}

/** One tensor's description; its `offset` still counts from the start of the data section. */
function readTensorInfo(cursor: ByteCursor): GgufTensor {
  const name = readGgufString(cursor);
  const dimensions = cursor.uint32();
  if (dimensions > MAX_DIMENSIONS) {
    throw cursor.fail(`tensor ${name} has ${dimensions} dimensions, expected at most ${MAX_DIMENSIONS}`);
  }
  const shape: number[] = [];
  let values = 1;
  for (let i = 0; i < dimensions; i++) {
    const size = cursor.count(`a dimension of tensor ${name}`, Number.MAX_SAFE_INTEGER);
    shape.unshift(size);
    values *= size;
    if (!Number.isSafeInteger(values)) throw cursor.fail(`tensor ${name} has more values than can be counted`);
  }
  const typeNumber = cursor.uint32();
  const type = GGML_TYPES.get(typeNumber);
  if (type === undefined) {
    const known = [...GGML_TYPES.values()].map((known) => known.name).join(', ');
    throw cursor.fail(`tensor ${name} has unsupported type number ${typeNumber}, expected one of ${known}`);
  }
  const rowValues = shape.at(-1) ?? 1;
  if (rowValues % type.blockValues !== 0) {
    throw cursor.fail(
      `tensor ${name} has rows of ${rowValues}, expected whole ${type.name} blocks of ${type.blockValues}`,
    );
  }
  const offset = cursor.count(`the offset of tensor ${name}`, Number.MAX_SAFE_INTEGER);
  return { name, shape, type, offset, byteLength: (values / type.blockValues) * type.blockBytes };
}

/** Turns relative offsets into checked file ranges: aligned, inside the file, none overlapping. */
function placeTensors(cursor: ByteCursor, infos: readonly GgufTensor[], alignment: number): Map<string, GgufTensor> {
  const dataStart = Math.ceil(cursor.offset / alignment) * alignment;
  const tensors = new Map<string, GgufTensor>();
  for (const info of infos) {
    if (tensors.has(info.name)) throw cursor.fail(`tensor ${info.name} occurs twice`);
    if (info.offset % alignment !== 0) {
      throw cursor.fail(`tensor ${info.name} lies at ${info.offset}, expected a multiple of ${alignment}`);
    }
    const offset = dataStart + info.offset;
    if (offset + info.byteLength > cursor.fileSize) {
      throw cursor.fail(
        `tensor ${info.name} ends at byte ${offset + info.byteLength}, but the file has ${cursor.fileSize} bytes`,
      );
    }
    tensors.set(info.name, { ...info, offset });
  }
  let end = 0;
  for (const tensor of [...tensors.values()].sort((a, b) => a.offset - b.offset)) {
    if (tensor.byteLength > 0 && tensor.offset < end) throw cursor.fail(`tensor ${tensor.name} overlaps another`);
    end = Math.max(end, tensor.offset + tensor.byteLength);
  }
  return tensors;
}

/**
 * Parses the head of a GGUF v2/v3 file from `bytes`, its first bytes; `fileSize` is the size of the whole file.
 * @throws `format` when anything in it does not hold; `PrefixTooShort` when the head continues after `bytes`.
 */
export function parseGguf(bytes: Buffer, fileSize: number, name = 'GGUF file'): GgufFile {
  const cursor = new ByteCursor(bytes, fileSize, `read ${name}`);
  const magic = cursor.uint32();
  if (magic !== MAGIC) throw cursor.fail(`not a GGUF file, got magic 0x${magic.toString(16)}, expected "GGUF"`);
  const version = cursor.uint32();
  if (version !== 2 && version !== 3) throw cursor.fail(`GGUF version is ${version}, expected 2 or 3 (little-endian)`);
  const tensorCount = cursor.count('the number of tensors', MAX_TENSORS);
  const metadataCount = cursor.count('the number of metadata entries', MAX_METADATA_ENTRIES);
  const metadata = readMetadata(cursor, metadataCount);
  const alignment = readAlignment(cursor, metadata);
  const infos: GgufTensor[] = [];
  for (let i = 0; i < tensorCount; i++) infos.push(readTensorInfo(cursor));
  return { version, metadata, tensors: placeTensors(cursor, infos, alignment) };
}

/** Opens and parses the head of a GGUF file. @throws `format` when it is missing, damaged or unsupported. */
export async function readGguf(path: string): Promise<GgufFile> {
  await using file = await openRandomAccessFile(path);
  const limit = Math.min(file.size, MAX_HEADER_BYTES);
  for (let length = Math.min(FIRST_PREFIX_BYTES, limit); ; length = Math.min(length * 4, limit)) {
    const bytes = await file.read(0, length);
    try {
      return parseGguf(bytes, file.size, path);
    } catch (error) {
      if (!(error instanceof PrefixTooShort)) throw error;
      if (length === limit) {
        throw new ByteCursor(bytes, file.size, `read ${path}`).fail(
          `its head is longer than ${MAX_HEADER_BYTES} bytes`,
        );
      }
    }
  }
}
