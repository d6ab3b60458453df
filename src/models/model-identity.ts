import { stat } from 'node:fs/promises';
import { dirname, resolve, sep } from 'node:path';
import { sha256Of } from '../base/canonical-json.ts';
import { readBlocks } from './formats/random-access-file.ts';
import { sha256OfFile } from './sources/file-hash.ts';
import type { ResolvedModel } from './sources/resolve-model.ts';

/** How a manifest names an opened model. */
export interface ModelIdentity {
  readonly spec: string;
  /** Of the weights, hex. */
  readonly sha256: string;
  /** Of the names and contents of all files: weights, config, tokenizer, chat template. Absent for built-in models. */
  readonly filesSha256?: string;
}

/** How a manifest names the model of a checkpoint. */
export function identityOfCheckpoint(checkpoint: ModelIdentity): ModelIdentity {
  const { spec, sha256, filesSha256 } = checkpoint;
  return { spec, sha256, ...(filesSha256 === undefined ? {} : { filesSha256 }) };
}

/** Begins a pair (`location`, path) of a tensor whose data are in another file: key 1, then value 2. */
const LOCATION = Buffer.concat([Buffer.from([0x0a, 8]), Buffer.from('location'), Buffer.of(0x12)]);
/** Longest path that is read, bytes: one byte of length. ONNX Runtime opens files beside the model only. */
const MAX_LOCATION_BYTES = 127;

/** The paths in `bytes` that tensors name as the place of their data. Other bytes may look like one: check them. */
function locationsIn(bytes: Buffer): string[] {
  const found: string[] = [];
  for (let at = bytes.indexOf(LOCATION); at >= 0; at = bytes.indexOf(LOCATION, at + 1)) {
    const start = at + LOCATION.length + 1;
    const length = bytes[start - 1] ?? 0;
    if (length <= MAX_LOCATION_BYTES && start + length <= bytes.length) {
      found.push(bytes.toString('utf8', start, start + length));
    }
  }
  return found;
}

/** Files in or below the folder of an ONNX file that hold data of its tensors, sorted. */
async function externalData(onnxFile: string): Promise<{ readonly name: string; readonly path: string }[]> {
  const names = new Set<string>();
  let rest = Buffer.alloc(0);
  for await (const block of readBlocks(onnxFile, 1 << 20)) {
    const bytes = Buffer.concat([rest, block]);
    for (const name of locationsIn(bytes)) names.add(name);
    rest = bytes.subarray(Math.max(0, bytes.length - LOCATION.length - MAX_LOCATION_BYTES));
  }
  const folder = dirname(onnxFile);
  const files = [...names].sort().map((name) => ({ name, path: resolve(folder, name) }));
  const areThere = await Promise.all(
    files.map(({ path }) =>
      stat(path).then(
        (found) => found.isFile(),
        () => false,
      ),
    ),
  );
  return files.filter(({ path }, i) => areThere[i] && path.startsWith(folder + sep));
}

/** Identity of a model on this machine; `weightsSha256` as its opener computed it from the bytes that it uses. */
export async function identityOf(model: ResolvedModel, weightsSha256: string): Promise<ModelIdentity> {
  const { spec, files, onnxFile } = model;
  const listed = files.map(({ name, sha256 }) => [name, sha256]);
  for (const { name, path } of onnxFile === undefined ? [] : await externalData(onnxFile)) {
    listed.push([`data ${name}`, await sha256OfFile(path)]);
  }
  return { spec, sha256: weightsSha256, filesSha256: sha256Of(JSON.stringify([weightsSha256, ...listed])) };
}
