import { readFileSync } from 'node:fs';
import { type ConnectionOptions, connect, rootCertificates, type TLSSocket } from 'node:tls';
import { FloodgateError } from '../base/errors.ts';

/** @throws FloodgateError `config` for a file of certificates that cannot be read. */
function readCa(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const hint = 'correct the path: queue.caFile of a config, --ca of a worker';
    throw new FloodgateError('config', `queue.caFile: cannot read ${file}: ${reason}`, { cause, hint });
  }
}

/** Time that a socket has for its clean end. */
const DISCONNECT_MS = 2000;

/**
 * Connects ioredis over TLS. Its own connector hears one error of a socket. A handshake that this side refuses has two,
 * the second one an alert of the server, and that would end the process.
 */
class TlsConnector {
  /** The reason why the latest socket was closed; ioredis reads it. */
  firstError: Error | undefined;
  private readonly options: ConnectionOptions;
  private isConnecting = false;
  private stream: TLSSocket | undefined;

  constructor({ host, port, tls }: ConnectionOptions & { readonly tls: ConnectionOptions }) {
    this.options = { host, port, ...tls };
  }

  /** Whether a server of that role will do: any. */
  check(): boolean {
    return true;
  }

  async connect(): Promise<TLSSocket> {
    this.isConnecting = true;
    await Promise.resolve(); // ioredis has then noted that it connects
    if (!this.isConnecting) throw new Error('Connection is closed.');
    const stream = connect(this.options);
    this.stream = stream;
    this.firstError = undefined;
    stream.on('error', (error) => {
      this.firstError ??= error;
    });
    return stream;
  }

  disconnect(): void {
    this.isConnecting = false;
    const { stream } = this;
    if (stream === undefined) return;
    const timer = setTimeout(() => stream.destroy(), DISCONNECT_MS);
    stream.on('close', () => clearTimeout(timer));
    stream.end();
  }
}

/** Options of a connection over TLS. @param caFile PEM of certificates that are trusted beside those of Node. */
export function tlsOptions(caFile: string | undefined): {
  readonly tls: ConnectionOptions;
  readonly Connector: object;
} {
  const tls = caFile === undefined ? {} : { ca: [...rootCertificates, readCa(caFile)] };
  return { tls, Connector: TlsConnector };
}
