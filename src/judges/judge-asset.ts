import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { FloodgateError } from '../base/errors.ts';
import { packageFile } from '../base/package-root.ts';

/** A file of assets/judges/, shipped with the package and written by lab/golden/models/. */
export interface JudgeAsset {
  readonly file: string;
  readonly sha256: string;
}

export const PROFANITY_ASSET: JudgeAsset = {
  file: 'profanity.bin',
  sha256: '2404f832dc3dbc1d24b05c45fd45de5cc66cecad47471d8f18f9e961c5bd4933',
};

export const TOX_BLOCK_GRAPH: JudgeAsset = {
  file: 'tox-block.onnx',
  sha256: 'a7658da5daf559a8c085f97bc5d1c82ecbbc7bb52e129d7933db93210bbf2bd7',
};

export const TOX_BLOCK_VOCABULARY: JudgeAsset = {
  file: 'tox-block-vocabulary.bin',
  sha256: 'e3b356499e865673e016972edac4a7b3d2fd557e7e3213e82b3725f1c354c5dc',
};

/** Longest header that is read, so that a wrong length field cannot make the whole file be parsed as JSON. */
const MAX_HEADER_BYTES = 65_536;

/** One tensor of an asset, its bytes aligned to 8. */
interface AssetTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** The path of the asset, in the source tree as in the built package. */
export function judgeAssetPath(asset: JudgeAsset): string {
  return fileURLToPath(packageFile(`assets/judges/${asset.file}`));
}

/**
 * The bytes of the asset, checked against its pinned sha256.
 * @throws FloodgateError `judge` when the file is missing or differs.
 */
export async function readJudgeAsset(asset: JudgeAsset): Promise<Uint8Array> {
  const path = judgeAssetPath(asset);
  let content: Uint8Array;
  try {
    content = await readFile(path);
  } catch (cause) {
    throw new FloodgateError('judge', `open judge: cannot read its asset ${path}`, {
      cause,
      hint: 'reinstall floodgate: assets/judges belongs to the package',
    });
  }
  const sha256 = createHash('sha256').update(content).digest('hex');
  if (sha256 !== asset.sha256) {
    throw new FloodgateError('judge', `open judge: ${path} has sha256 ${sha256}, expected ${asset.sha256}`, {
      hint: 'reinstall floodgate: assets/judges belongs to the package',
    });
  }
  return content;
}

/** The tensors of an asset in safetensors layout; every length and offset is checked before use. */
export class AssetTensors {
  private readonly header: Readonly<Record<string, unknown>>;
  private readonly data: Uint8Array;
  private readonly name: string;

  /** @throws FloodgateError `format` when the header does not describe the bytes. */
  constructor(content: Uint8Array, name: string) {
    this.name = name;
    if (content.length < 8) throw this.bad(`${content.length} bytes, expected at least 8`);
    const length = new DataView(content.buffer, content.byteOffset, 8).getBigUint64(0, true);
    if (length > MAX_HEADER_BYTES || Number(length) > content.length - 8) throw this.bad(`header of ${length} bytes`);
    const head = new TextDecoder().decode(content.subarray(8, 8 + Number(length)));
    let header: unknown;
    try {
      header = JSON.parse(head);
    } catch (cause) {
      throw new FloodgateError('format', `read ${name}: header is not JSON`, { cause });
    }
    if (!isRecord(header)) throw this.bad('header is not a JSON object');
    this.header = header;
    this.data = content.subarray(8 + Number(length));
  }

  /** U64 tensor as (low, high) pairs of 32 bits: [n] becomes 2n numbers. */
  uint64Pairs(tensor: string, shape: readonly (number | undefined)[]): Uint32Array {
    const { bytes } = this.tensor(tensor, 'U64', shape);
    return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  }

  float32(tensor: string, shape: readonly (number | undefined)[]): Float32Array {
    const { bytes } = this.tensor(tensor, 'F32', shape);
    return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  }

  float64(tensor: string, shape: readonly (number | undefined)[]): Float64Array {
    const { bytes } = this.tensor(tensor, 'F64', shape);
    return new Float64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8);
  }

  /** The tensor, copied to aligned memory. `undefined` in `expected` accepts any size. */
  private tensor(name: string, dtype: 'U64' | 'F32' | 'F64', expected: readonly (number | undefined)[]): AssetTensor {
    const entry = this.header[name];
    if (!isRecord(entry) || entry.dtype !== dtype) throw this.bad(`no ${dtype} tensor ${name}`);
    const shape: unknown = entry.shape;
    const offsets: unknown = entry.data_offsets;
    if (!isSizeList(shape) || shape.length !== expected.length) throw this.bad(`shape of ${name}`);
    if (expected.some((size, axis) => size !== undefined && size !== shape[axis])) {
      throw this.bad(`${name} has shape [${shape}], expected [${expected.map((size) => size ?? 'any')}]`);
    }
    const [start, end] = isSizeList(offsets) ? offsets : [];
    const byteLength = shape.reduce((product, size) => product * size, dtype === 'F32' ? 4 : 8);
    if (start === undefined || end === undefined || end - start !== byteLength || end > this.data.length) {
      throw this.bad(`${name} is at ${start}..${end}, expected ${byteLength} of ${this.data.length} bytes`);
    }
    return { dtype, shape, bytes: new Uint8Array(this.data.slice(start, end)) };
  }

  private bad(what: string): FloodgateError {
    return new FloodgateError('format', `read ${this.name}: ${what}`);
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSizeList(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && (size as number) >= 0);
}
