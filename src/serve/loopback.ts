import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { FloodgateError } from '../base/errors.ts';

/** Only this machine reaches the server. */
export const HOST = '127.0.0.1';

/**
 * Listens on the loopback address alone and returns the port.
 * @param command named by the error.
 * @param port 0: any free one.
 * @throws FloodgateError `usage` when the port cannot be opened.
 */
export function listenOnLoopback(command: string, server: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const reason = error.code === 'EADDRINUSE' ? 'another program uses it' : (error.code ?? error.message);
      const hint = 'choose another port with --port; 0 takes any free one';
      reject(
        new FloodgateError('usage', `${command}: port ${port} cannot be opened: ${reason}`, { hint, cause: error }),
      );
    });
    server.listen(port, HOST, () => resolve((server.address() as AddressInfo).port));
  });
}
