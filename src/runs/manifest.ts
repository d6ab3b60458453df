import { readFile, stat } from 'node:fs/promises';
import { arch, cpus, platform, release, totalmem } from 'node:os';
import { z } from 'zod';
import { writeFileAtomically } from '../base/atomic-file.ts';
import { FloodgateError } from '../base/errors.ts';

/** Increased when the config or the folder changes so that an older run cannot be resumed. */
export const MANIFEST_VERSION = 2;

/** Stops a wrong file from being parsed as a manifest. */
const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;

const modelEntry = z.object({
  /** Its use: `attacker`, `target`, `encoder`, `judge:NAME`. */
  role: z.string(),
  spec: z.string(),
  sha256: z.string(),
  /** Of weights, config, tokenizer and template together; absent for built-in models and in older manifests. */
  filesSha256: z.string().optional(),
});

const manifestSchema = z.object({
  manifestVersion: z.literal(MANIFEST_VERSION),
  run: z.string(),
  createdAt: z.iso.datetime(),
  authorisation: z.string(),
  versions: z.record(z.string(), z.string()),
  machine: z.object({ platform: z.string(), cpu: z.string(), cores: z.number(), memoryBytes: z.number() }),
  seed: z.number(),
  threads: z.number(),
  devices: z.record(z.string(), z.string()),
  /** Hash of the resolved config, keys sorted: two runs with the same hash have the same settings. */
  configSha256: z.string(),
  /** Hash of the seed file's bytes. */
  seedsSha256: z.string(),
  models: z.array(modelEntry),
  /** A training target in int8 against itself in fp32, on a few seeds; absent for a run in fp32. */
  targetInt8: z
    .object({
      klPerToken: z.number(),
      topAgreement: z.number(),
      referencePerplexity: z.number(),
      otherPerplexity: z.number(),
      tokens: z.number(),
    })
    .optional(),
  judges: z.object({ training: z.string(), evaluation: z.array(z.string()) }),
  decode: z.object({ training: z.record(z.string(), z.number()), evaluation: z.record(z.string(), z.number()) }),
  /** The floor under P(unsafe) that every reward used. */
  unsafeFloor: z.number(),
});

/** The judge whose figures come first: an evaluation judge that did not give the reward, where there is one. */
export function countingJudge({ training, evaluation }: Manifest['judges']): string {
  return evaluation.find((name) => name !== training) ?? training;
}

/** The same of a run on disk. @throws FloodgateError as `readManifest`. */
export async function countingJudgeOf({ manifestPath }: { readonly manifestPath: string }): Promise<string> {
  return countingJudge((await readManifest(manifestPath)).judges);
}

/** Everything needed to repeat a run, or to see why it cannot be. */
export type Manifest = z.infer<typeof manifestSchema>;
export type ModelEntry = z.infer<typeof modelEntry>;

/** Facts of a manifest that its caller supplies. */
export type ManifestFacts = Omit<Manifest, 'manifestVersion' | 'createdAt' | 'machine'> & {
  readonly createdMs: number;
};

/** Returns the manifest of a run about to start on this machine. */
export function createManifest({ createdMs, versions, ...facts }: ManifestFacts): Manifest {
  return {
    manifestVersion: MANIFEST_VERSION,
    createdAt: new Date(createdMs).toISOString(),
    versions: { ...versions, node: process.versions.node },
    machine: {
      platform: `${platform()} ${release()} ${arch()}`,
      cpu: cpus()[0]?.model.trim() ?? 'unknown',
      cores: cpus().length,
      memoryBytes: totalmem(),
    },
    ...facts,
  };
}

/** @throws FloodgateError `store` when the disk refuses. */
export async function writeManifest(path: string, manifest: Manifest): Promise<void> {
  await writeFileAtomically(path, (file) => file.writeFile(`${JSON.stringify(manifest, null, 2)}\n`));
}

/** @throws FloodgateError `run` when the file is missing, damaged or another version's. */
export async function readManifest(path: string): Promise<Manifest> {
  try {
    const bytes = await readFile(path);
    if (bytes.length > MAX_MANIFEST_BYTES) throw new Error(`${bytes.length} bytes`);
    const json: unknown = JSON.parse(bytes.toString('utf8'));
    refuseOtherVersion(path, json);
    return manifestSchema.parse(json);
  } catch (cause) {
    if (cause instanceof FloodgateError) throw cause;
    const reason =
      cause instanceof z.ZodError ? z.prettifyError(cause) : cause instanceof Error ? cause.message : cause;
    throw new FloodgateError('run', `read manifest ${path}: ${String(reason)}`, { cause });
  }
}

const anyManifest = z.looseObject({
  manifestVersion: z.number(),
  versions: z.looseObject({ floodgate: z.string().optional() }).optional(),
});

/** True of a manifest that Floodgate wrote, of whatever version. */
export async function isManifestFile(path: string): Promise<boolean> {
  try {
    if ((await stat(path)).size > MAX_MANIFEST_BYTES) return false;
    const { data } = anyManifest.safeParse(JSON.parse(await readFile(path, 'utf8')));
    return data?.versions?.floodgate !== undefined;
  } catch {
    return false; // missing, or damaged
  }
}

/** @throws FloodgateError `run` for a run that another version wrote, naming it. */
function refuseOtherVersion(path: string, json: unknown): void {
  const { data } = anyManifest.safeParse(json);
  if (data === undefined || data.manifestVersion === MANIFEST_VERSION) return;
  const writer = data.versions?.floodgate;
  throw new FloodgateError(
    'run',
    `read manifest ${path}: the run was written by ${writer === undefined ? 'another version' : `floodgate ${writer}`}`,
    {
      hint: `use ${writer === undefined ? 'that version' : `floodgate ${writer}`} for it, or start the run again`,
    },
  );
}
