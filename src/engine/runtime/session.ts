import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import type { InferenceSession as OrtSession } from 'onnxruntime-common';
import type { Tensor } from 'onnxruntime-node';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import type { Graph } from '../graph/builder.ts';
import { writeOnnx } from '../onnx/onnx-writer.ts';
import { type ComputeOptions, DEVICE_REMEDIES, type Device, dialectOf, executionProviders } from './device.ts';
import { int8ProductSaturates } from './int8-product.ts';
import { holdSession } from './session-pool.ts';
import { onnxRuntime } from './tensors.ts';
import { createWorkerSession, type RuntimeSession } from './worker-session.ts';

export type Tensors = Readonly<Record<string, Tensor>>;

export interface OpenSessionOptions extends ComputeOptions {
  /** For messages and leak reports. */
  readonly label: string;
  /** Folder of the external weight file; the model file is written beside it, where the runtime accepts it. */
  readonly weightFolder?: string;
}

/** A device that the package lacks is refused: the runtime itself would leave it out, and compute on the CPU. */
function requireDevice(device: Device): void {
  const names = onnxRuntime()
    .listSupportedBackends()
    .map(({ name }) => name);
  if (!names.includes(device)) throw new Error(`the package has no ${device} for ${process.platform} ${process.arch}`);
}

/** A model as the runtime reads it, and what tells it from every other. */
interface Model {
  readonly source: Uint8Array | string;
  readonly identity: string;
  /** Whether it may multiply int8 weights. */
  readonly hasInt8: boolean;
}

/** Opens the session on this thread, or in one of its own. */
function create(source: Model['source'], settings: OrtSession.SessionOptions, ownThread = false) {
  if (ownThread) return createWorkerSession(source, settings);
  const { InferenceSession } = onnxRuntime();
  return typeof source === 'string'
    ? InferenceSession.create(source, settings)
    : InferenceSession.create(source, settings);
}

/** Joins the session of this model and these settings, or creates it. */
async function join({ source, identity, hasInt8 }: Model, options: OpenSessionOptions): Promise<GraphSession> {
  requireDevice(options.device);
  const settings = sessionOptions(options, hasInt8 && (await int8ProductSaturates()));
  const key = JSON.stringify([identity, settings, options.ownThread ?? false]);
  const session = await holdSession(key, () => create(source, settings, options.ownThread));
  return new GraphSession(options.label, session, options.device);
}

/** Tells files from those that replaced them under the same name. */
async function identityOfFiles(files: readonly string[]): Promise<string> {
  const found = await Promise.all(files.map((file) => stat(file).catch(() => undefined)));
  return JSON.stringify(files.map((file, i) => [file, found[i]?.ino, found[i]?.size, found[i]?.mtimeMs]));
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

const live = new Set<GraphSession>();

/** Labels of the sessions not yet closed: empty after a test that cleans up. */
export function liveSessionLabels(): string[] {
  return [...live].map((session) => session.label);
}

/** One ONNX Runtime session. Close it: its weights live outside the JavaScript heap. */
export class GraphSession {
  readonly label: string;
  readonly device: Device;
  private session: RuntimeSession | undefined;

  constructor(label: string, session: RuntimeSession, device: Device) {
    this.label = label;
    this.device = device;
    this.session = session;
    live.add(this);
  }

  get inputNames(): readonly string[] {
    return this.alive().inputNames;
  }

  get outputNames(): readonly string[] {
    return this.alive().outputNames;
  }

  private alive(): RuntimeSession {
    if (this.session === undefined) throw new FloodgateError('runtime', `run ${this.label}: the session is closed`);
    return this.session;
  }

  /**
   * Runs the graph. Tensors given in `fetches` are written in place (a buffer may be an input and an output at once);
   * without `fetches` every output is newly allocated.
   */
  async run(feeds: Tensors, fetches?: Tensors): Promise<Tensors> {
    const session = this.alive();
    try {
      return fetches === undefined ? await session.run(feeds) : await session.run(feeds, fetches);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new FloodgateError('runtime', `run ${this.label}: ${reason}`, { cause });
    }
  }

  async close(): Promise<void> {
    const session = this.session;
    this.session = undefined;
    live.delete(this);
    await session?.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function sessionOptions(options: OpenSessionOptions, takesExactInt8: boolean): OrtSession.SessionOptions {
  return {
    executionProviders: executionProviders(options.device),
    intraOpNumThreads: options.threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    // Memory goes back to the C library after each run, where other sessions find it. An arena keeps what its largest
    // run took, in powers of two, and is no faster (docs/performance.md). A pattern would keep one more block as large.
    enableCpuMemArena: false,
    enableMemPattern: false,
    graphOptimizationLevel: 'all',
    logSeverityLevel: 3,
    ...(options.profilePrefix === undefined ? {} : { enableProfiling: true, profileFilePrefix: options.profilePrefix }),
    extra: {
      session: {
        ...(options.prepack === false ? { disable_prepacking: '1' } : {}),
        // Waiting threads sleep instead of spinning: on a machine with other work a spinning barrier costs a time slice.
        intra_op: { allow_spinning: '0' },
        ...(takesExactInt8 ? { x64quantprecision: '1' } : {}),
      },
    },
  };
}

/**
 * Returns the graph's file in `folder`, named by its content. A file of that name is taken only when its bytes are those
 * of the graph; one that a power cut or a disk has damaged is written again.
 */
async function provideModelFile(folder: string, bytes: Uint8Array): Promise<string> {
  const name = `graph-${sha256(bytes).slice(0, 24)}.onnx`;
  const file = path.join(folder, name);
  const stored = await readFile(file).catch(() => undefined);
  if (stored === undefined || !stored.equals(bytes))
    await writeFileAtomically(file, (handle) => handle.writeFile(bytes));
  return file;
}

function cannotOpen(doing: string, device: Device, cause: unknown): FloodgateError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const hint = device === 'cpu' ? {} : { hint: `try --device cpu; ${DEVICE_REMEDIES[device]}` };
  return new FloodgateError('runtime', `${doing}: ${reason}`, { cause, ...hint });
}

/**
 * Opens a session for `graph`. Those who open the same graph with the same settings share the runtime's session.
 *
 * @throws FloodgateError `runtime` when the device is missing or the runtime refuses the graph; `store` when the graph's
 * file cannot be written.
 */
export async function openSession(graph: Graph, options: OpenSessionOptions): Promise<GraphSession> {
  const bytes = writeOnnx(graph, dialectOf(options.device));
  const hasInt8 = graph.nodes.some(({ op }) => op.kind === 'int8Linear');
  const weightFiles = new Set(
    graph.initializers.flatMap((initializer) => (initializer.kind === 'external' ? [initializer.location] : [])),
  );
  try {
    if (weightFiles.size === 0) return await join({ source: bytes, identity: sha256(bytes), hasInt8 }, options);
    if (options.weightFolder === undefined) {
      throw new FloodgateError(
        'runtime',
        `open ${options.label}: the graph has external weights, but no weight folder was given`,
      );
    }
    const folder = options.weightFolder;
    const source = await provideModelFile(folder, bytes);
    const identity = await identityOfFiles([source, ...[...weightFiles].map((name) => path.join(folder, name))]);
    return await join({ source, identity, hasInt8 }, options);
  } catch (cause) {
    if (cause instanceof FloodgateError) throw cause;
    throw cannotOpen(`open ${options.label} on ${options.device}`, options.device, cause);
  }
}

/** Opens a model that comes as an ONNX file, as it is. */
export async function openSessionFile(file: string, options: OpenSessionOptions): Promise<GraphSession> {
  try {
    return await join({ source: file, identity: await identityOfFiles([file]), hasInt8: true }, options);
  } catch (cause) {
    throw cannotOpen(`open ${options.label} from ${file} on ${options.device}`, options.device, cause);
  }
}

/** Version of the ONNX Runtime package that does the arithmetic. */
export function runtimeVersion(): string {
  const require = createRequire(import.meta.url);
  return (require('onnxruntime-node/package.json') as { version: string }).version;
}
