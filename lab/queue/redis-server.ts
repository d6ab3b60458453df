import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** A real Redis of this test alone, in a folder of its own. */
export interface RedisServer {
  readonly url: string;
  readonly port: number;
  /** Ends it: `SIGKILL` as a crash, `SIGTERM` in order. */
  stop(signal?: NodeJS.Signals): Promise<void>;
  /** Starts it again on the same port, with the data that it wrote. */
  start(): Promise<void>;
  remove(): Promise<void>;
}

/** A port that nobody uses just now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function isListening(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** @param args further options of redis-server, e.g. `--requirepass secret`. */
export async function startRedis(args: readonly string[] = []): Promise<RedisServer> {
  const folder = await mkdtemp(path.join(tmpdir(), 'floodgate-redis-'));
  const port = await freePort();
  let child: ChildProcess | undefined;
  const end = (): void => void child?.kill('SIGKILL');
  process.once('exit', end);
  const start = async (): Promise<void> => {
    const options = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', ''];
    // Every write is on the disk before it is answered: a crash loses nothing that was answered.
    const durable = ['--appendonly', 'yes', '--appendfsync', 'always'];
    const started = spawn(process.env.FLOODGATE_REDIS || 'redis-server', [...options, ...durable, ...args], {
      stdio: 'ignore',
    });
    child = started;
    while (!(await isListening(port))) {
      if (started.exitCode !== null) throw new Error(`redis-server ended with ${started.exitCode}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  const stop = async (signal: NodeJS.Signals = 'SIGTERM'): Promise<void> => {
    const running = child;
    child = undefined;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
    const closed = once(running, 'close');
    running.kill(signal);
    await closed;
  };
  await start();
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    start,
    stop,
    remove: async () => {
      process.off('exit', end);
      await stop('SIGKILL');
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** A way to Redis that can be cut, as a network is. */
export interface CuttableWay {
  readonly url: string;
  /** Drops every connection and refuses new ones. */
  cut(): void;
  /** Carries nothing any more, and closes nothing. */
  freeze(): void;
  mend(): void;
  close(): Promise<void>;
}

/** A proxy of our own before a port of this machine. */
export async function startWay(to: number): Promise<CuttableWay> {
  const sockets = new Set<Socket>();
  let isCut = false;
  let isFrozen = false;
  const server = createServer((client) => {
    if (isCut) {
      client.destroy();
      return;
    }
    const redis = connect(to, '127.0.0.1');
    for (const [from, other] of [
      [client, redis],
      [redis, client],
    ] as const) {
      sockets.add(from);
      from.on('error', () => other.destroy());
      from.on('close', () => {
        sockets.delete(from);
        other.destroy();
      });
      from.pipe(other);
      if (isFrozen) from.pause();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  const drop = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    url: `redis://127.0.0.1:${port}`,
    cut: () => {
      isCut = true;
      drop();
    },
    freeze: () => {
      isFrozen = true;
      for (const socket of sockets) socket.unpipe().pause();
    },
    mend: () => {
      isCut = false;
      if (isFrozen) drop(); // what was frozen is not carried later: a cut network has lost it
      isFrozen = false;
    },
    close: async () => {
      drop();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
