import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Served, serveTiny, TOKEN } from './served.ts';

let served: Served;
const sockets: Socket[] = [];
beforeAll(async () => {
  served = await serveTiny();
});
afterAll(async () => {
  for (const socket of sockets) socket.destroy();
  await served.close();
});

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** A kept connection, and what has come over it since the last request. */
function openConnection() {
  const { port } = served.server;
  const socket = connect(port, '127.0.0.1');
  sockets.push(socket);
  const state = { text: '', isCut: false };
  socket.on('error', () => undefined);
  socket.on('close', () => {
    state.isCut = true;
  });
  socket.on('data', (data) => {
    state.text += String(data);
  });
  const body = JSON.stringify({ model: 'tiny', prompt: 'a', max_tokens: 1 });
  const head = ['POST /v1/completions HTTP/1.1', `Host: 127.0.0.1:${port}`, `Authorization: Bearer ${TOKEN}`];
  const ask = (): void => {
    state.text = '';
    socket.write([...head, `Content-Length: ${body.length}`, '', body].join('\r\n'));
  };
  return { state, ask };
}

/** A machine that has no time for what arrives. */
function beBusy(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end) Math.sqrt(2);
}

/**
 * A client may use a connection for as long as the server promises. A busy server reads late, and looks at its timers
 * first: it must not give up a connection on which a request waits to be read.
 */
it('waits longer for the next request than it promises', { timeout: 30_000 }, async () => {
  const connections = Array.from({ length: 16 }, openConnection);
  for (const { ask } of connections) ask();
  await expect.poll(() => connections.every(({ state }) => state.text.includes('text_completion'))).toBe(true);
  const promisedMs = Number(/keep-alive: timeout=(\d+)/i.exec(connections[0]?.state.text ?? '')?.[1]) * 1000;
  const idleMs = promisedMs - 1500;
  await sleep(idleMs);
  await new Promise((resolve) => setImmediate(resolve)); // timers come next, and then what has arrived
  for (const { ask } of connections) ask();
  beBusy(2500); // until after the promised time
  await expect
    .poll(() => connections.map(({ state: { text, isCut } }) => (isCut ? 'cut' : text.slice(0, 15))), {
      timeout: 10_000,
    })
    .toEqual(Array(16).fill('HTTP/1.1 200 OK'));
});
