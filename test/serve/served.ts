import { tmpdir } from 'node:os';
import path from 'node:path';
import OpenAI from 'openai';
import { silentProgress } from '../../src/base/progress.ts';
import { type RunningServer, serveModel } from '../../src/serve/serve.ts';
import { openServedModel, type ServedModel } from '../../src/serve/served-model.ts';
import { testPath } from '../support/golden-file.ts';

export const TOKEN = 'a-token-of-this-test';
export const TINY = testPath('fixtures', 'models', 'smollm2');

export const testIo = () => ({
  progress: silentProgress,
  signal: new AbortController().signal,
  cacheDir: path.join(tmpdir(), 'floodgate-test-weights'),
});

export interface Served {
  readonly model: ServedModel;
  readonly server: RunningServer;
  readonly client: OpenAI;
  readonly log: string[];
  close(): Promise<void>;
}

/** A server for an opened model, and OpenAI's own client for it. */
export async function serveForTest(model: ServedModel): Promise<Served> {
  const log: string[] = [];
  const server = await serveModel(model, { port: 0, token: TOKEN, log: (line) => void log.push(line) });
  const client = new OpenAI({ baseURL: server.url, apiKey: TOKEN, maxRetries: 0 });
  const close = async (): Promise<void> => {
    await server.close();
    await model.close();
  };
  return { model, server, client, log, close };
}

export const serveTiny = async (): Promise<Served> =>
  serveForTest(await openServedModel(TINY, testIo(), { id: 'tiny', threads: 1 }));
