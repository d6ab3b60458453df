import { join, resolve } from 'node:path';
import { FloodgateError } from '../../base/errors.ts';
import { readLocalModel } from './local-model.ts';
import { findFaults, type ModelFile, type ModelManifest, readManifest } from './model-cache.ts';
import { type FetchedLocation, locateModel } from './model-location.ts';
import { type SourceOptions, settleSourceOptions } from './source-environment.ts';

/** A model that lies on this machine, every byte accounted for. */
export interface ResolvedModel {
  /** The spec as it was given. */
  readonly spec: string;
  /** Catalogue name where there is one, else the canonical spec or the path. */
  readonly name: string;
  /** The `.gguf` file, or the folder that holds everything else. Absolute. */
  readonly path: string;
  /** The `.onnx` file of a model that comes as one; absolute, inside `path`. */
  readonly onnxFile?: string;
  /** Names are relative to the model's folder; sha256 in lower-case hex, sizes in bytes. */
  readonly files: readonly ModelFile[];
}

/**
 * The model of `spec` on this machine, verified against what was pinned or recorded; fetches nothing.
 * @throws FloodgateError `source` when it is missing or damaged, with the command that brings it; `usage` for a spec
 * that cannot be read.
 */
export async function resolveModel(spec: string, options: SourceOptions = {}): Promise<ResolvedModel> {
  const { cacheDir } = settleSourceOptions(options);
  const location = locateModel(spec, cacheDir);
  if (location.kind === 'path') {
    const { root, files } = await readLocalModel(location.path);
    return describeModel(spec, spec, root, files);
  }
  const manifest = await readManifest(location.slot.folder);
  if (manifest === undefined) {
    throw new FloodgateError('source', `open model ${location.name}: it is not in the model cache (${cacheDir})`, {
      hint: pullCommand(location),
    });
  }
  const [fault] = await findFaults(location.slot.folder, manifest, { isThorough: false });
  if (fault !== undefined) {
    throw new FloodgateError('source', `open model ${location.name}: file ${fault.name}: ${fault.fault}`, {
      hint: pullCommand(location),
    });
  }
  return describeFetched(spec, location, manifest);
}

/** The command that brings the model. */
export function pullCommand(location: FetchedLocation): string {
  return `floodgate models pull ${location.name}`;
}

export function describeFetched(spec: string, location: FetchedLocation, manifest: ModelManifest): ResolvedModel {
  return describeModel(spec, location.name, location.slot.folder, manifest.files);
}

function describeModel(spec: string, name: string, root: string, files: readonly ModelFile[]): ResolvedModel {
  const folder = resolve(root);
  const fileWith = (ending: string): string | undefined => files.find((file) => file.name.endsWith(ending))?.name;
  const gguf = fileWith('.gguf');
  const onnx = fileWith('.onnx');
  if (gguf !== undefined) return { spec, name, path: join(folder, gguf), files };
  return { spec, name, path: folder, files, ...(onnx === undefined ? {} : { onnxFile: join(folder, onnx) }) };
}
