import { readFile } from 'node:fs/promises';
import { arch, cpus, platform, release, totalmem } from 'node:os';
import { z } from 'zod';
import { writeFileAtomically } from '../base/atomic-file.ts';
import { canonicalJson, sha256Of } from '../base/canonical-json.ts';
import { FloodgateError } from '../base/errors.ts';
import type { Divergence } from '../models/decoder/divergence.ts';
import type { Config } from '../stages/config/config-schema.ts';

export const MANIFEST_VERSION = 1;

/** Stops a wrong file from being parsed as a manifest. */
const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;

const modelEntry = z.object({
  /** What it was used for: `attacker`, `target`, `encoder`, `judge:NAME`. */
  role: z.string(),
  spec: z.string(),
  sha256: z.string(),
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
  /** Of the resolved config, keys sorted: two runs with the same one were asked for the same thing. */
  configSha256: z.string(),
  /** Of the seed file's bytes. */
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

/** Everything needed to repeat a run, or to see why it cannot be. */
export type Manifest = z.infer<typeof manifestSchema>;
export type ModelEntry = z.infer<typeof modelEntry>;

export interface ManifestFacts {
  readonly run: string;
  readonly config: Config;
  readonly createdMs: number;
  /** Package versions: floodgate itself and what decides numbers (ONNX Runtime). */
  readonly versions: Readonly<Record<string, string>>;
  readonly threads: number;
  readonly seedsSha256: string;
  readonly models: readonly ModelEntry[];
  readonly targetInt8?: Divergence;
  /** Names as the judges themselves give them. */
  readonly judges: { readonly training: string; readonly evaluation: readonly string[] };
}

/** Returns the manifest of a run about to start on this machine. */
export function createManifest(facts: ManifestFacts): Manifest {
  const { config } = facts;
  const { target, evaluation } = config;
  return {
    manifestVersion: MANIFEST_VERSION,
    run: facts.run,
    createdAt: new Date(facts.createdMs).toISOString(),
    authorisation: config.authorisation,
    versions: { ...facts.versions, node: process.versions.node },
    machine: {
      platform: `${platform()} ${release()} ${arch()}`,
      cpu: cpus()[0]?.model.trim() ?? 'unknown',
      cores: cpus().length,
      memoryBytes: totalmem(),
    },
    seed: config.seed,
    threads: facts.threads,
    devices: {
      attacker: config.attacker.device,
      encoder: config.encoder.device,
      ...(target.kind === 'local' ? { target: target.device } : {}),
    },
    configSha256: configSha256(config),
    seedsSha256: facts.seedsSha256,
    models: [...facts.models],
    ...(facts.targetInt8 === undefined ? {} : { targetInt8: facts.targetInt8 }),
    judges: { training: facts.judges.training, evaluation: [...facts.judges.evaluation] },
    decode: {
      training: { ...target.decode, responses: target.responses },
      evaluation: { ...target.decode, responses: evaluation.responses, attackerTemperature: evaluation.temperature },
    },
    unsafeFloor: config.gflownet.unsafeFloor,
  };
}

/** sha256 (hex) of the resolved config, independent of the order of its keys. */
export function configSha256(config: Config): string {
  return sha256Of(canonicalJson(config));
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
    return manifestSchema.parse(JSON.parse(bytes.toString('utf8')));
  } catch (cause) {
    const reason =
      cause instanceof z.ZodError ? z.prettifyError(cause) : cause instanceof Error ? cause.message : cause;
    throw new FloodgateError('run', `read manifest ${path}: ${String(reason)}`, { cause });
  }
}
