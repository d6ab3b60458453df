import { Worker } from 'node:worker_threads';

/** A server of the OpenAI kind that answers every request after the same time, in a thread of its own as elsewhere. */
const SERVER = `
const { createServer } = require('node:http');
const { parentPort, workerData } = require('node:worker_threads');
const choices = [{ message: { role: 'assistant', content: 'no, not today' }, finish_reason: 'stop' }];
const reply = JSON.stringify({ choices, usage: { completion_tokens: 4 } });
const server = createServer((request, response) => {
  request.resume();
  setTimeout(() => response.writeHead(200, { 'content-type': 'application/json' }).end(reply), workerData);
});
server.keepAliveTimeout = 60000;
server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));
`;

/** Starts the server on a free port of this machine. Close it when done. */
export async function slowServer(latencyMs: number) {
  const worker = new Worker(SERVER, { eval: true, workerData: latencyMs });
  const port = await new Promise<number>((resolve) => worker.once('message', resolve));
  return { baseUrl: `http://127.0.0.1:${port}/v1`, close: () => worker.terminate() };
}
