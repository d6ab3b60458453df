import { Worker } from 'node:worker_threads';
import type { InferenceSession as OrtSession } from 'onnxruntime-common';
import type { Tensor } from 'onnxruntime-node';
import { onnxRuntime } from './tensors.ts';

/** The part of ONNX Runtime's session that a graph needs. */
export type RuntimeSession = Pick<OrtSession, 'inputNames' | 'outputNames' | 'release'> & {
  run(feeds: OrtSession.FeedsType, fetches?: OrtSession.FetchesType): Promise<OrtSession.OnnxValueMapType>;
};

/** A tensor as a message. The data are a copy of their own: a view would carry its whole buffer along. */
interface PlainTensor {
  readonly type: Tensor.Type;
  readonly dims: readonly number[];
  readonly data: Tensor['data'];
}

type Reply =
  | { readonly id: number; readonly outputs: Readonly<Record<string, PlainTensor>> }
  | { readonly id: number; readonly error: string };

/**
 * The worker's program, as text: a file of its own would need another path in `src` than in a package. It opens one
 * session, says its names, and answers each message with the outputs of one run.
 */
const PROGRAM = `
const { parentPort, workerData } = require('node:worker_threads');
const { InferenceSession, Tensor } = require('node:module').createRequire(workerData.from)('onnxruntime-node');
const toTensor = ({ type, data, dims }) => new Tensor(type, data, dims);
const opened = InferenceSession.create(workerData.model, workerData.options);
opened.then(
  ({ inputNames, outputNames }) => parentPort.postMessage({ inputNames, outputNames }),
  (error) => parentPort.postMessage({ error: error.message }),
);
parentPort.on('message', async ({ id, feeds, wanted }) => {
  const session = await opened;
  if (id === undefined) {
    await session.release();
    return process.exit(0);
  }
  try {
    const inputs = Object.fromEntries(Object.entries(feeds).map(([name, tensor]) => [name, toTensor(tensor)]));
    const results = await session.run(inputs, wanted);
    const outputs = Object.entries(results).map(([name, { type, dims, data }]) => [name, { type, dims, data }]);
    parentPort.postMessage({ id, outputs: Object.fromEntries(outputs) });
  } catch (error) {
    parentPort.postMessage({ id, error: error.message });
  }
});
`;

function toPlain({ type, dims, data }: Tensor): PlainTensor {
  return { type, dims, data: data.slice() as Tensor['data'] };
}

function toTensor({ type, data, dims }: PlainTensor): Tensor {
  return new (onnxRuntime().Tensor)(type as 'float32', data as never, dims);
}

/** Writes an output into the tensor that the caller gave for it. */
function fill(target: Tensor, { data }: PlainTensor): Tensor {
  (target.data as Float32Array).set(data as Float32Array);
  return target;
}

/**
 * Opens a session in a thread of its own. The runtime computes on the thread that calls it, so that a run holds up all
 * else on that thread: answers of a server wait until it ends. Here they do not. Feeds and outputs are copied.
 *
 * @param model the graph's bytes, or the path of its file.
 * @throws Error with the runtime's own message.
 */
export async function createWorkerSession(
  model: Uint8Array | string,
  options: OrtSession.SessionOptions,
): Promise<RuntimeSession> {
  const worker = new Worker(PROGRAM, { eval: true, workerData: { from: import.meta.url, model, options } });
  const names = await new Promise<Pick<RuntimeSession, 'inputNames' | 'outputNames'>>((resolve, reject) => {
    worker.once('error', reject);
    worker.once('message', (message: Pick<RuntimeSession, 'inputNames' | 'outputNames'> | { error: string }) =>
      'error' in message ? reject(new Error(message.error)) : resolve(message),
    );
  });
  return connect(worker, names);
}

function connect(worker: Worker, names: Pick<RuntimeSession, 'inputNames' | 'outputNames'>): RuntimeSession {
  const waiting = new Map<number, { resolve(reply: Reply): void; reject(error: Error): void }>();
  const fail = (error: Error): void => {
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  };
  worker.on('message', (reply: Reply) => {
    waiting.get(reply.id)?.resolve(reply);
    waiting.delete(reply.id);
  });
  worker.on('error', fail);
  const ended = new Promise<void>((resolve) =>
    worker.once('exit', () => {
      fail(new Error('the thread of the session has ended'));
      resolve();
    }),
  );
  let runs = 0;
  return {
    ...names,
    run: async (feeds, fetches) => {
      const id = runs++;
      const inputs = Object.entries(feeds).map(([name, tensor]) => [name, toPlain(tensor as Tensor)] as const);
      const reply = await new Promise<Reply>((resolve, reject) => {
        waiting.set(id, { resolve, reject });
        worker.postMessage(
          {
            id,
            feeds: Object.fromEntries(inputs),
            wanted: fetches === undefined ? names.outputNames : Object.keys(fetches),
          },
          inputs.flatMap(([, { data }]) => ('buffer' in data ? [data.buffer as ArrayBuffer] : [])),
        );
      });
      if ('error' in reply) throw new Error(reply.error);
      const outputs = Object.entries(reply.outputs).map(([name, output]) => {
        const target = (fetches as Readonly<Record<string, Tensor>> | undefined)?.[name];
        return [name, target === undefined ? toTensor(output) : fill(target, output)];
      });
      return Object.fromEntries(outputs);
    },
    release: async () => {
      worker.postMessage({});
      await ended;
    },
  };
}
