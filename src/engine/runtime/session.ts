import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import type { InferenceSession as OrtSession } from 'onnxruntime-common';
import { InferenceSession, type Tensor } from 'onnxruntime-node';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import type { Graph } from '../graph/builder.ts';
import { writeOnnx } from '../onnx/onnx-writer.ts';
import { type ComputeOptions, executionProviders } from './device.ts';
import { createWorkerSession, type RuntimeSession } from './worker-session.ts';

export type Tensors = Readonly<Record<string, Tensor>>;

export interface OpenSessionOptions extends ComputeOptions {
  /** For messages and leak reports. */
  readonly label: string;
  /** Folder of the external weight file; the model file is written beside it, where the runtime accepts it. */
  readonly weightFolder?: string;
  /**
   * Whether weights are repacked for matmul (a second copy in memory; faster for few rows). Default true.
   * Training turns it off: its matmuls are tall, and each weight would be packed twice, for forward and backward.
   */
  readonly prepack?: boolean;
}

/** Creates the session on this thread, or in one of its own. */
async function create(model: Uint8Array | string, options: OpenSessionOptions): Promise<GraphSession> {
  const settings = sessionOptions(options);
  const session = options.ownThread
    ? await createWorkerSession(model, settings)
    : await (typeof model === 'string'
        ? InferenceSession.create(model, settings)
        : InferenceSession.create(model, settings));
  return new GraphSession(options.label, session);
}

const live = new Set<GraphSession>();

/** Labels of the sessions not yet closed: empty after a test that cleans up. */
export function liveSessionLabels(): string[] {
  return [...live].map((session) => session.label);
}

/** One ONNX Runtime session. Close it: its weights live outside the JavaScript heap. */
export class GraphSession {
  readonly label: string;
  private session: RuntimeSession | undefined;

  constructor(label: string, session: RuntimeSession) {
    this.label = label;
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

function sessionOptions(options: OpenSessionOptions): OrtSession.SessionOptions {
  return {
    executionProviders: executionProviders(options.device),
    intraOpNumThreads: options.threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    logSeverityLevel: 3,
    extra: {
      session: {
        ...(options.prepack === false ? { disable_prepacking: '1' } : {}),
        // Waiting threads sleep instead of spinning: on a machine with other work a spinning barrier costs a time slice.
        intra_op: { allow_spinning: '0' },
        // Without VNNI the fast int8 product of u8 and s8 saturates at 16 bits and is plainly wrong: take the exact one there.
        x64quantprecision: '1',
      },
    },
  };
}

/**
 * Returns the graph's file in `folder`, named by its content. A file of that name is taken only when its bytes are those
 * of the graph; one that a power cut or a disk has damaged is written again.
 */
async function provideModelFile(folder: string, bytes: Uint8Array): Promise<string> {
  const name = `graph-${createHash('sha256').update(bytes).digest('hex').slice(0, 24)}.onnx`;
  const file = path.join(folder, name);
  const stored = await readFile(file).catch(() => undefined);
  if (stored === undefined || !stored.equals(bytes))
    await writeFileAtomically(file, (handle) => handle.writeFile(bytes));
  return file;
}

/**
 * Opens a session for `graph`.
 *
 * @throws FloodgateError `runtime` when the device is missing or the runtime refuses the graph; `store` when the graph's
 * file cannot be written.
 */
export async function openSession(graph: Graph, options: OpenSessionOptions): Promise<GraphSession> {
  const bytes = writeOnnx(graph);
  const hasExternal = graph.initializers.some((initializer) => initializer.kind === 'external');
  try {
    if (!hasExternal) return await create(bytes, options);
    if (options.weightFolder === undefined) {
      throw new FloodgateError(
        'runtime',
        `open ${options.label}: the graph has external weights, but no weight folder was given`,
      );
    }
    const file = await provideModelFile(options.weightFolder, bytes);
    return await create(file, options);
  } catch (cause) {
    if (cause instanceof FloodgateError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FloodgateError('runtime', `open ${options.label} on ${options.device}: ${reason}`, {
      cause,
      ...(options.device === 'cpu' ? {} : { hint: 'this build or machine may lack the device: try --device cpu' }),
    });
  }
}

/** Opens a model that comes as an ONNX file, as it is. */
export async function openSessionFile(file: string, options: OpenSessionOptions): Promise<GraphSession> {
  try {
    return await create(file, options);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FloodgateError('runtime', `open ${options.label} from ${file} on ${options.device}: ${reason}`, {
      cause,
    });
  }
}

/** Version of the ONNX Runtime package that does the arithmetic. */
export function runtimeVersion(): string {
  const require = createRequire(import.meta.url);
  return (require('onnxruntime-node/package.json') as { version: string }).version;
}
