import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FloodgateError, redactSecrets } from '../../src/base/errors.ts';
import type { ProgressSink } from '../../src/base/progress.ts';
import { randomStream } from '../../src/base/random.ts';
import { removeModel, verifyModels } from '../../src/models/sources/manage-models.ts';
import { pullModel } from '../../src/models/sources/pull-model.ts';
import { resolveModel } from '../../src/models/sources/resolve-model.ts';
import type { SourceOptions } from '../../src/models/sources/source-environment.ts';
import { HubServer, REPOSITORY, type SeenRequest, type ServedFile, sendContent, sha256 } from './hub-server.ts';

const SPEC = `hf:${REPOSITORY}`;
const WEIGHTS = 'model.safetensors';
const TOKEN = 'hf_thisIsNoRealToken123';

let hub: HubServer;
let cacheDir: string;

function randomBytes(length: number, seed: number): Buffer {
  const stream = randomStream(seed, 'content');
  return Buffer.from(Array.from({ length }, () => stream.nextInt(256)));
}

function weights(): ServedFile {
  const found = hub.files.find(({ name }) => name === WEIGHTS);
  if (found === undefined) throw new Error('the hub serves no weights');
  return found;
}

function options(rest: Partial<SourceOptions> = {}, env: Record<string, string> = {}): SourceOptions {
  return {
    cacheDir,
    env: { HF_ENDPOINT: hub.endpoint, HOME: cacheDir, ...env },
    timing: { retryBaseMs: 2, stallTimeoutMs: 2_000, maxRetryAfterMs: 3_000 },
    ...rest,
  };
}

async function failure(work: Promise<unknown>): Promise<FloodgateError> {
  const error = await work.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  if (error instanceof FloodgateError) return error;
  throw error ?? new Error('it did not fail');
}

/** Misbehaves for the download of the weights from the storage, `times` times. */
function spoilWeights(times: number, spoil: (request: IncomingMessage, response: ServerResponse) => void): void {
  let left = times;
  hub.misbehave = (request, response, server) => {
    if (server !== 'storage' || !request.url?.endsWith(WEIGHTS) || left <= 0) return false;
    left--;
    spoil(request, response);
    return true;
  };
}

/** Sends only the first `bytes` of what would be sent, then breaks the connection. */
function cutAfter(bytes: number): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => {
    const end = response.end.bind(response);
    response.end = ((body: Buffer) => {
      response.write(body.subarray(0, bytes), () => setTimeout(() => response.destroy(), 20));
      return response;
    }) as typeof end;
    sendContent(request, response, weights());
  };
}

const rangesOf = (requests: readonly SeenRequest[]) => requests.map(({ headers }) => headers.range);

beforeEach(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), 'floodgate-hub-'));
  hub = new HubServer();
  await hub.open();
  hub.files = [
    { name: 'README.md', content: Buffer.from('# not wanted'), isLarge: false },
    { name: 'config.json', content: Buffer.from('{"model_type":"gpt2"}'), isLarge: false },
    { name: WEIGHTS, content: randomBytes(200_000, 1), isLarge: true },
    { name: 'pytorch_model.bin', content: randomBytes(100, 2), isLarge: true },
    { name: 'tokenizer.json', content: Buffer.from('{}'), isLarge: false },
  ];
});

afterEach(async () => {
  await hub.close();
  await rm(cacheDir, { recursive: true, force: true });
});

describe('pulling from a hub', () => {
  it('brings only the files of the model, byte for byte, and finds them again without the network', async () => {
    const pulled = await pullModel(SPEC, options());
    expect(pulled.files.map(({ name }) => name)).toEqual(['config.json', WEIGHTS, 'tokenizer.json']);
    expect(pulled.files[1]).toEqual({ name: WEIGHTS, sha256: sha256(weights().content), bytes: 200_000 });
    expect(await readFile(join(pulled.path, WEIGHTS))).toEqual(weights().content);
    expect(hub.seen.some(({ path }) => path.endsWith('.bin') || path.endsWith('.md'))).toBe(false);
    const requests = hub.seen.length;
    expect(await resolveModel(SPEC, options())).toEqual(pulled);
    expect(await pullModel(SPEC, options({}, { HF_HUB_OFFLINE: '1' }))).toEqual(pulled);
    expect(hub.seen.length).toBe(requests);
  });

  it('gives the token to the hub and to nobody it redirects to', async () => {
    await pullModel(SPEC, options({}, { HF_TOKEN: TOKEN }));
    const tokens = (server: SeenRequest['server']) =>
      new Set(hub.seen.filter((request) => request.server === server).map(({ headers }) => headers.authorization));
    expect(tokens('hub')).toEqual(new Set([`Bearer ${TOKEN}`]));
    expect(tokens('storage')).toEqual(new Set([undefined]));
  });

  it.each([
    ['HF_TOKEN_PATH', (folder: string) => ({ HF_TOKEN_PATH: join(folder, 'token') })],
    ['HF_HOME', (folder: string) => ({ HF_HOME: folder })],
  ])('reads the token file of %s', async (_name, env) => {
    await writeFile(join(cacheDir, 'token'), `${TOKEN}\n`);
    await pullModel(SPEC, options({}, env(cacheDir)));
    expect(hub.seen[0]?.headers.authorization).toBe(`Bearer ${TOKEN}`);
  });

  it('reports bytes as they come', async () => {
    const updates: number[] = [];
    let total: number | undefined;
    const progress: ProgressSink = {
      start: (_label, announced) => {
        total = announced;
        return { update: (done) => void updates.push(done), finish: () => undefined };
      },
    };
    await pullModel(SPEC, options({ progress }));
    expect(total).toBe(200_000 + 21 + 2);
    expect(updates.at(-1)).toBe(total);
    expect(updates).toEqual([...updates].sort((a, b) => a - b));
  });

  it('takes one named GGUF of many, and asks when none is named', async () => {
    hub.files = ['a.Q4_K_M.gguf', 'a.Q8_0.gguf'].map((name) => ({ name, content: randomBytes(64, 3), isLarge: true }));
    const error = await failure(pullModel(SPEC, options()));
    expect(error.message).toContain('a.Q4_K_M.gguf, a.Q8_0.gguf');
    expect(error.hint).toContain(`${SPEC}/a.Q4_K_M.gguf`);
    const pulled = await pullModel(`${SPEC}/a.Q8_0.gguf`, options());
    expect(pulled.path).toMatch(/a\.Q8_0\.gguf$/);
    expect(pulled.files).toHaveLength(1);
  });

  it('takes a named ONNX file with its external data and the files beside it', async () => {
    const add = (name: string) => hub.files.push({ name, content: randomBytes(50, 4), isLarge: true });
    for (const name of ['onnx/model.onnx', 'onnx/model_quantized.onnx', 'onnx/model_quantized.onnx_data']) add(name);
    const pulled = await pullModel(`${SPEC}/onnx/model_quantized.onnx`, options());
    expect(pulled.onnxFile).toBe(join(pulled.path, 'onnx', 'model_quantized.onnx'));
    expect(pulled.files.map(({ name }) => name)).toEqual([
      'config.json',
      'onnx/model_quantized.onnx',
      'onnx/model_quantized.onnx_data',
      'tokenizer.json',
    ]);
  });

  it('takes shards, and refuses an index that names one that is not there', async () => {
    const shard = 'model-00001-of-00002.safetensors';
    const index = { weight_map: { a: shard, b: '../../outside.safetensors' } };
    const indexFile = {
      name: 'model.safetensors.index.json',
      content: Buffer.from(JSON.stringify(index)),
      isLarge: false,
    };
    hub.files = [indexFile, { name: shard, content: randomBytes(64, 5), isLarge: true }];
    expect((await failure(pullModel(SPEC, options()))).message).toContain('outside.safetensors');
    indexFile.content = Buffer.from(JSON.stringify({ weight_map: { a: shard } }));
    expect((await pullModel(SPEC, options())).files.map(({ name }) => name)).toEqual([shard, indexFile.name]);
  });

  it('refuses pickled weights', async () => {
    hub.files = hub.files.filter(({ name }) => name !== WEIGHTS);
    expect((await failure(pullModel(SPEC, options()))).message).toMatch(/pickles.*expected safetensors/);
  });
});

describe('a hub connection that breaks', () => {
  it('goes on from the byte where it was cut', async () => {
    spoilWeights(2, cutAfter(60_000));
    const pulled = await pullModel(SPEC, options());
    expect(await readFile(join(pulled.path, WEIGHTS))).toEqual(weights().content);
    expect(rangesOf(hub.downloadsOf(WEIGHTS))).toEqual([undefined, 'bytes=60000-', 'bytes=120000-']);
    expect(hub.downloadsOf(WEIGHTS)[1]?.headers['if-range']).toMatch(/^"[0-9a-f]{32}"$/);
  });

  it('leaves a partial file when stopped, and a later pull goes on from it', async () => {
    const stop = new AbortController();
    spoilWeights(1, (request, response) => {
      const end = response.end.bind(response);
      response.end = ((body: Buffer) => response.write(body.subarray(0, 70_000)) && response) as unknown as typeof end;
      sendContent(request, response, weights());
    });
    const progress: ProgressSink = {
      start: () => ({ update: (done) => void (done > 70_000 && stop.abort()), finish: () => undefined }),
    };
    const error = await failure(pullModel(SPEC, options({ progress, signal: stop.signal })));
    expect(error.code).toBe('interrupted');
    expect((await failure(resolveModel(SPEC, options()))).hint).toBe(`floodgate models pull ${SPEC}`);
    expect((await readdir(join(cacheDir, 'locks'))).filter((name) => name.endsWith('.lock'))).toEqual([]);
    const pulled = await pullModel(SPEC, options());
    expect(await readFile(join(pulled.path, WEIGHTS))).toEqual(weights().content);
    expect(rangesOf(hub.downloadsOf(WEIGHTS))).toEqual([undefined, 'bytes=70000-']);
    expect(await readdir(join(cacheDir, 'partial'))).toEqual([]);
  });

  it('starts anew, mixing nothing, when the ETag changes between two parts', async () => {
    // A file without a hash in the listing: only the ETag can tell.
    hub.listing = () => ({ sha: hub.commit, siblings: hub.files.map(({ name }) => ({ rfilename: name })) });
    const changed = randomBytes(200_000, 9);
    spoilWeights(1, (request, response) => {
      cutAfter(50_000)(request, response);
      weights().content = changed;
    });
    const pulled = await pullModel(SPEC, options());
    expect(await readFile(join(pulled.path, WEIGHTS))).toEqual(changed);
    expect(rangesOf(hub.downloadsOf(WEIGHTS))[1]).toBe('bytes=50000-');
  });

  it('starts anew when the server ignores If-Range and sends a part of other content', async () => {
    hub.listing = () => ({ sha: hub.commit, siblings: hub.files.map(({ name }) => ({ rfilename: name })) });
    const changed = randomBytes(200_000, 9);
    let requests = 0;
    spoilWeights(2, (request, response) => {
      if (requests++ === 0) {
        cutAfter(50_000)(request, response);
        weights().content = changed;
        return;
      }
      delete request.headers['if-range'];
      sendContent(request, response, weights());
    });
    const pulled = await pullModel(SPEC, options());
    expect(await readFile(join(pulled.path, WEIGHTS))).toEqual(changed);
  });

  it('waits as long as Retry-After says', async () => {
    const start = performance.now();
    spoilWeights(1, (_request, response) => response.writeHead(429, { 'retry-after': '1' }).end());
    await pullModel(SPEC, options());
    expect(performance.now() - start).toBeGreaterThan(990);
  });

  it('does not wait for an hour', async () => {
    spoilWeights(1, (_request, response) => response.writeHead(429, { 'retry-after': '3600' }).end());
    expect((await failure(pullModel(SPEC, options()))).message).toContain('3600 s');
  });

  it.each([500, 503, 408])('tries again after status %d', async (status) => {
    spoilWeights(2, (_request, response) => response.writeHead(status).end('oops'));
    await pullModel(SPEC, options());
    expect(hub.downloadsOf(WEIGHTS)).toHaveLength(3);
  });

  it('gives up on a hub that is down for good, and says how to go on', async () => {
    hub.misbehave = (request) => request.socket.destroy() !== undefined;
    const error = await failure(pullModel(SPEC, options()));
    expect(error.message).toContain('gave up after 5 attempts');
    expect(error.hint).toContain('HF_ENDPOINT');
  });

  it('counts a connection that brings nothing as cut', async () => {
    spoilWeights(1, (_request, response) => void response.writeHead(200, { 'content-length': 200_000 }).flushHeaders());
    const timing = { retryBaseMs: 2, stallTimeoutMs: 1500 }; // a busy machine may hold up the second try too
    await pullModel(SPEC, options({ timing }));
    expect(hub.downloadsOf(WEIGHTS)).toHaveLength(2);
  });
});

describe('a hub that refuses', () => {
  const refuseAll = (status: number, code: string) => {
    hub.misbehave = (_request, response) => response.writeHead(status, { 'x-error-code': code }).end() !== undefined;
  };

  it.each([401, 403])('names the token variable after %d', async (status) => {
    refuseAll(status, 'GatedRepo');
    const error = await failure(pullModel(SPEC, options()));
    expect(error.message).toContain('GatedRepo');
    expect(error.hint).toContain('HF_TOKEN');
    expect(hub.seen).toHaveLength(1);
  });

  it('says 404 once, without trying again, and leaks no token', async () => {
    refuseAll(404, TOKEN);
    const error = await failure(pullModel(SPEC, options({}, { HF_TOKEN: TOKEN })));
    expect(error.message).toContain('no such repository');
    expect(error.message).not.toContain(TOKEN);
    expect(hub.seen).toHaveLength(1);
  });
});

describe('what lets in at a hub', () => {
  it.each(['http://mirrortoken9876@', 'http://someone:mirrortoken9876@'])(
    'is no part of HF_ENDPOINT: %s is refused at once, and not shown',
    async (start) => {
      const error = await failure(
        pullModel(SPEC, options({}, { HF_ENDPOINT: hub.endpoint.replace('http://', start) })),
      );
      expect(error.code).toBe('config');
      expect(error.hint).toContain('HF_TOKEN');
      expect(`${error.message} ${error.hint}`).not.toContain('mirrortoken9876');
      expect(hub.seen).toEqual([]);
    },
  );

  it('is not shown when the endpoint cannot be read', async () => {
    const error = await failure(pullModel(SPEC, options({}, { HF_ENDPOINT: 'ftp://mirrortoken9876@host' })));
    expect(error.message).not.toContain('mirrortoken9876');
  });

  it('is redacted, whatever it looks like', async () => {
    const token = 'a-token-like-no-other';
    hub.misbehave = (request, response) =>
      response.writeHead(404, { 'x-error-message': request.headers.authorization?.slice(7) }).end() !== undefined;
    const error = await failure(pullModel(SPEC, options({}, { HF_TOKEN: token })));
    expect(error.message).toContain('answered 404 ([redacted])');
    expect(redactSecrets(`a line of another part: ${token}`)).toBe('a line of another part: [redacted]');
  });

  it('warns when the token leaves in plain text', async () => {
    const told: string[] = [];
    const stop = new AbortController();
    const notify = (line: string): void => {
      told.push(line);
      if (line.startsWith('warning')) stop.abort(); // before the host is looked up
    };
    const env = { HF_ENDPOINT: 'http://hub.invalid', HF_TOKEN: TOKEN };
    await failure(pullModel(SPEC, options({ notify, signal: stop.signal }, env)));
    expect(told.at(-1)).toMatch(/^warning: the hub token goes to hub\.invalid in plain text/);
    told.length = 0;
    await pullModel(SPEC, options({ notify }, { HF_TOKEN: TOKEN })); // loopback: nobody listens
    expect(told.filter((line) => line.startsWith('warning'))).toEqual([]);
  });
});

describe('a hub that lies', () => {
  it.each([
    ['HTML', '<html>please log in</html>'],
    ['JSON of another shape', '{"siblings": 3}'],
    ['no commit', '{"sha":"main","siblings":[]}'],
  ])('refuses %s as a listing', async (_name, body) => {
    hub.misbehave = (_request, response) => response.end(body) !== undefined;
    expect((await failure(pullModel(SPEC, options()))).message).toContain('answered no listing');
  });

  it('stops reading a listing without end', async () => {
    hub.misbehave = (_request, response) => {
      const pour = (): void => void (response.destroyed || response.write(Buffer.alloc(1 << 20, 32), pour));
      pour();
      return true;
    };
    expect((await failure(pullModel(SPEC, options()))).message).toContain('too long');
  });

  it('refuses wrong bytes of the right size, keeps nothing of them, and takes the right ones later', async () => {
    const wrong = { name: WEIGHTS, content: randomBytes(200_000, 8), isLarge: true };
    spoilWeights(1, (request, response) => sendContent(request, response, wrong));
    const error = await failure(pullModel(SPEC, options()));
    expect(error.message).toMatch(/wrong sha256, got [0-9a-f]{64}, expected [0-9a-f]{64}/);
    const pulled = await pullModel(SPEC, options());
    expect(await readFile(join(pulled.path, WEIGHTS))).toEqual(weights().content);
    expect(rangesOf(hub.downloadsOf(WEIGHTS))).toEqual([undefined, undefined]);
  });

  it('checks small files against their git hash', async () => {
    hub.misbehave = (request, response) => {
      if (!request.url?.endsWith('config.json')) return false;
      response.end('{"model_type":"evil"}'); // same size
      return true;
    };
    expect((await failure(pullModel(SPEC, options()))).message).toContain('wrong git hash');
  });

  it('refuses another size than listed before reading the body', async () => {
    spoilWeights(1, (_request, response) => response.writeHead(200, { 'content-length': 300_000 }).write('x'));
    expect((await failure(pullModel(SPEC, options()))).message).toContain('got 300000 bytes, expected 200000');
  });

  it('stops at the listed size when the body never ends', async () => {
    let poured = 0;
    spoilWeights(1, (_request, response) => {
      const pour = (): void => {
        poured += 1 << 16;
        if (!response.destroyed) response.write(Buffer.alloc(1 << 16), pour);
      };
      pour();
    });
    expect((await failure(pullModel(SPEC, options()))).message).toContain('sends more than 200000 bytes');
    expect(poured).toBeLessThan(64 << 20);
  });

  it('refuses a hash in the headers that is not the listed one', async () => {
    hub.misbehave = (request, response, server) => {
      if (server !== 'hub' || !request.url?.endsWith(WEIGHTS)) return false;
      response.writeHead(302, { location: hub.storageUrl + request.url, 'x-linked-etag': `"${'0'.repeat(64)}"` }).end();
      return true;
    };
    expect((await failure(pullModel(SPEC, options()))).message).toContain('the server offers other content');
  });

  it.each(['file:///etc/passwd', 'ftp://127.0.0.1/x', 'http://['])('refuses a redirect to %s', async (location) => {
    hub.misbehave = (_request, response) => response.writeHead(302, { location }).end() !== undefined;
    expect((await failure(pullModel(SPEC, options()))).message).toContain('refused a redirect');
  });

  it('leaves a redirect loop', async () => {
    hub.misbehave = (request, response) => response.writeHead(302, { location: request.url }).end() !== undefined;
    expect((await failure(pullModel(SPEC, options()))).message).toContain('more than 10 redirects');
  });

  it.each(['../a.gguf', '/a.gguf', 'b/../../a.gguf', 'con.gguf'])(
    'does not count %s as a file of the model',
    async (name) => {
      const content = randomBytes(64, 6);
      hub.files = ['good.gguf', name].map((served) => ({ name: served, content, isLarge: true }));
      expect((await pullModel(SPEC, options())).path).toMatch(/good\.gguf$/);
    },
  );

  it('writes nothing under a hostile name', async () => {
    const hostile = ['../escape/config.json', '/config.json', 'a/../../tokenizer.json', 'CON.json', 'vocab.json\u0000'];
    hub.files.push(...hostile.map((name) => ({ name, content: Buffer.from('{}'), isLarge: false })));
    const pulled = await pullModel(SPEC, options());
    expect(pulled.files.map(({ name }) => name)).toEqual(['config.json', WEIGHTS, 'tokenizer.json']);
  });
});

describe('what the first pull brought', () => {
  it('is asked for again by its commit after the branch has moved', async () => {
    const first = await pullModel(SPEC, options());
    await removeModel(SPEC, false, options());
    hub.seen.length = 0;
    expect(await pullModel(SPEC, options())).toEqual(first);
    expect(hub.seen[0]?.path).toContain(`/revision/${hub.commit}`);
  });

  it('is insisted on, until it is forgotten', async () => {
    await pullModel(SPEC, options());
    await removeModel(SPEC, false, options());
    weights().content = randomBytes(200_000, 7);
    const error = await failure(pullModel(SPEC, options()));
    expect(error.message).toContain('is not what the first pull brought');
    expect(error.hint).toContain(`floodgate models rm --forget ${SPEC}`);
    await removeModel(SPEC, true, options());
    expect((await pullModel(SPEC, options())).files[1]?.sha256).toBe(sha256(weights().content));
  });

  it('is checked whenever a file has been touched, and fetched anew when damaged', async () => {
    const pulled = await pullModel(SPEC, options());
    const spoiled = Buffer.from(weights().content);
    spoiled[1000] = (spoiled[1000] ?? 0) ^ 1;
    await writeFile(join(pulled.path, WEIGHTS), spoiled);
    expect((await failure(resolveModel(SPEC, options()))).message).toContain('sha256 differs');
    expect(await verifyModels(SPEC, options())).toMatchObject([{ faults: [{ name: WEIGHTS }] }]);
    await pullModel(SPEC, options());
    expect(await verifyModels(SPEC, options())).toMatchObject([{ files: 3, faults: [] }]);
  });

  it('keeps two pulls at once from each other: one fetches, both have it', async () => {
    const both = await Promise.all([pullModel(SPEC, options()), pullModel(SPEC, options())]);
    expect(both[0]).toEqual(both[1]);
    expect(hub.downloadsOf(WEIGHTS)).toHaveLength(1);
  });

  it('is named with the command that brings it when offline', async () => {
    const error = await failure(pullModel('gpt2', options({}, { FLOODGATE_OFFLINE: '1' })));
    expect(error.message).toContain('offline');
    expect(error.hint).toContain('floodgate models pull gpt2');
    expect(hub.seen).toEqual([]);
  });
});
