import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { RandomStream } from '../../../src/base/random.ts';
import { readSafetensors } from '../../../src/models/formats/safetensors.ts';
import { mutateBytes } from '../byte-mutation.ts';
import { type FuzzInput, type FuzzTarget, pick } from '../fuzz-target.ts';
import { mutateJson } from '../json-mutation.ts';

/** A file whose header is this text, its length true or not. */
function withHeader(header: string, data: Buffer, stream: RandomStream): Buffer {
  const json = Buffer.from(header);
  const length = Buffer.alloc(8);
  const claimed = stream.nextInt(8) === 0 ? json.length + stream.nextInt(16) - 8 : json.length;
  length.writeBigUInt64LE(BigInt(Math.max(0, claimed)));
  const rest = stream.nextInt(4) === 0 ? data.subarray(0, stream.nextInt(data.length + 1)) : data;
  return Buffer.concat([length, json, rest]);
}

export function createSafetensorsTarget(root: string): FuzzTarget {
  const file = readFileSync(path.join(root, 'test/golden/formats/mixed.safetensors'));
  const weights = readFileSync(path.join(root, 'test/fixtures/models/smollm2/model.safetensors')).subarray(0, 40_000);
  const headerEnd = 8 + Number(file.readBigUInt64LE(0));
  const header = file.subarray(8, headerEnd).toString('utf8');
  return {
    name: 'safetensors',
    codes: ['format'],
    baseBytes: 4 * 1024 * 1024,
    make: (stream): FuzzInput => {
      const kind = stream.nextInt(8);
      const bytes =
        kind < 5
          ? withHeader(mutateJson(header, stream), file.subarray(headerEnd), stream)
          : mutateBytes(pick(stream, [file, file, weights]), stream);
      return { bytes, variant: 0 };
    },
    parse: async ({ bytes }, folder) => {
      const place = path.join(folder, 'model.safetensors');
      writeFileSync(place, bytes);
      await readSafetensors(place);
    },
  };
}
