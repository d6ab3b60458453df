import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeRun, type StartedView, startView } from './viewed.ts';

let started: StartedView;
beforeAll(async () => {
  started = await startView((parent) => makeRun(parent, 'first'));
});
afterAll(() => started.close());

const API = ['/api/runs', '/api/runs/first', '/api/runs/first/curves', '/api/runs/first/attacks', '/api/choices'];
const codeOf = ({ text }: { text: string }) => (JSON.parse(text) as { error: { code: string } }).error.code;

describe('who may ask', () => {
  it('a page that exchanged the token, by a cookie that no script and no other site gets', async () => {
    const { begun, cookie, view, token } = started;
    expect(begun.status).toBe(204);
    const [set = ''] = begun.headers['set-cookie'] ?? [];
    expect(set.split('; ').slice(1).sort()).toEqual(['HttpOnly', 'Path=/', 'SameSite=Strict']);
    expect(cookie.split('=')[0]).toBe(`floodgate-view-${view.port}`);
    expect(token).toMatch(/^[\w-]{43}$/);
    expect(set).not.toContain(token);
    for (const path of API) expect((await started.send({ path, headers: { cookie } })).status).toBe(200);
  });

  it.each(['', 'wrong', 'PREFIX', 'LONGER'])('nobody with the token %j', async (given) => {
    const { token } = started;
    const tried = given === 'PREFIX' ? token.slice(0, -1) : given === 'LONGER' ? `${token}x` : given;
    const sent = await started.exchange(tried);
    expect(sent.status).toBe(401);
    expect(sent.headers['set-cookie']).toBeUndefined();
    expect(sent.text).not.toContain(token);
  });

  it('nobody without the cookie, or with the token in its place', async () => {
    const { cookie, token, view } = started;
    const [name, value = ''] = cookie.split('=');
    const tried = [
      '',
      `${name}=`,
      `${name}=${token}`,
      `${name}=${value.slice(1)}`,
      `floodgate-view-${view.port + 1}=${value}`,
    ];
    for (const path of API)
      for (const wrong of tried)
        expect(codeOf(await started.send({ path, headers: { cookie: wrong } }))).toBe('no_session');
    const bearer = await started.send({ path: '/api/runs', headers: { authorization: `Bearer ${token}` } });
    expect(bearer.status).toBe(401);
    expect((await started.send({ path: `/api/runs?token=${token}` })).status).toBe(401);
  });

  it.each(['evil.example', 'evil.example:PORT', '127.0.0.1.evil.example:PORT', '127.0.0.1:1', 'localhost'])(
    'no page that calls this machine %s (DNS rebinding), not even its start page',
    async (host) => {
      const named = host.replace('PORT', String(started.view.port));
      const origin = `http://${named}`;
      for (const path of ['/', '/view.js', ...API]) {
        const sent = await started.send({ path, headers: { host: named, cookie: started.cookie } });
        expect([sent.status, codeOf(sent)]).toEqual([403, 'bad_host']);
      }
      expect((await started.exchange(started.token, { host: named, origin })).status).toBe(403);
    },
  );

  it('no page of another origin, another port of this machine included', async () => {
    const { cookie, view, token } = started;
    const others = [
      'https://evil.example',
      `http://127.0.0.1:${view.port + 1}`,
      `https://127.0.0.1:${view.port}`,
      'null',
    ];
    for (const origin of [...others, `http://localhost:${view.port}`]) {
      const sent = await started.send({ path: '/api/runs', headers: { cookie, origin } });
      expect([origin, sent.status, codeOf(sent)]).toEqual([origin, 403, 'bad_origin']);
      expect((await started.exchange(token, { origin })).status).toBe(403);
    }
    expect((await started.exchange(token, { origin: '' })).status).toBe(403);
    for (const site of ['cross-site', 'same-site']) {
      const headers = { cookie, 'sec-fetch-site': site };
      expect((await started.send({ path: '/api/runs', headers })).status).toBe(403);
    }
    const headers = { cookie, 'sec-fetch-site': 'same-origin' };
    expect((await started.send({ path: '/api/runs', headers })).status).toBe(200);
  });

  it('no other machine: only the loopback address listens', async () => {
    const addresses = Object.values(networkInterfaces()).flatMap((found) => found ?? []);
    for (const { address: host } of addresses.filter(({ internal, family }) => !internal && family === 'IPv4')) {
      const code = await new Promise((resolve) => {
        const socket = connect({ host, port: started.view.port }, () => resolve('connected'));
        socket.on('error', ({ code }: NodeJS.ErrnoException) => resolve(code));
      });
      expect(code).toBe('ECONNREFUSED');
    }
    expect(started.view.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/#token=/);
  });
});

describe('every answer', () => {
  it('has a strict policy, no sniffing, no CORS, and a fixed name where it is saved', async () => {
    const { cookie } = started;
    const asked = [...API, '/', '/view.js', '/nothing', '/favicon.ico', '/api/runs/nothing'];
    for (const path of asked) {
      const { headers } = await started.send({ path, headers: { cookie } });
      const policy = headers['content-security-policy'] ?? '';
      expect(policy).toMatch(/^default-src 'none'; script-src 'self'; style-src 'self'; /);
      expect(policy).not.toMatch(/unsafe-|\*|https?:|data:/);
      expect(headers['x-content-type-options']).toBe('nosniff');
      expect(headers['cache-control']).toBe('no-store');
      expect(Object.keys(headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
      if (headers['content-type'] === 'application/json')
        expect(headers['content-disposition']).toBe('attachment; filename="floodgate.json"');
    }
    const sent = await started.send({
      method: 'OPTIONS',
      path: '/api/runs',
      headers: { cookie, origin: started.base },
    });
    expect(sent.status).toBe(405);
  });

  it.each(['POST', 'PUT', 'DELETE', 'HEAD'])('refuses %s: nothing here changes', async (method) => {
    const { cookie, base } = started;
    for (const path of ['/', ...API]) {
      const { status } = await started.send({ method, path, headers: { cookie, origin: base } });
      expect(status).toBe(405);
    }
  });

  it('the page itself has no inline script or style', async () => {
    const { text } = await started.send({ path: '/' });
    expect(text).not.toMatch(/<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)[^>]*>/i);
  });
});

describe('names in an address', () => {
  it.each([
    '/../package.json',
    '/..%2fpackage.json',
    '/view/../report/page.css',
    '/%2e%2e/package.json',
    '/constructor',
    '/__proto__',
    '/api/runs/..',
    '/api/runs/%2e%2e',
    '/api/runs/..%2f..%2fetc',
    '/api/runs/first%2f..%2ffirst',
    '/api/runs/first%00',
    '/api/runs/%',
    '/api/runs/first/run.db',
    '/api/runs/first/attacks/1%20or%201',
    '/api/runs/first/attacks/1/2',
    '/api/runs/__proto__/curves',
    '//evil.example/api/runs',
  ])('%s is nothing', async (path) => {
    const sent = await started.send({ path, headers: { cookie: started.cookie } });
    expect([sent.status, codeOf(sent).startsWith('unknown_')]).toEqual([404, true]);
    expect(sent.text).not.toContain(started.parent);
  });

  it.each([
    'limit=201',
    'limit=-1',
    'before=x',
    'show=yes',
    'source=none',
    'sort=text',
    'stage=a&stage=b',
    'outcome=1',
  ])('the query %s is refused', async (query) => {
    const path = `/api/runs/first/attacks?${query}`;
    const sent = await started.send({ path, headers: { cookie: started.cookie } });
    expect([sent.status, codeOf(sent)]).toEqual([400, 'bad_query']);
  });
});

it('writes nothing into a run; at most SQLite leaves its empty log beside the database', async () => {
  const folder = join(started.parent, 'first');
  const files = ['config.yaml', 'manifest.json', 'run.db'];
  const look = () =>
    files.map((name) =>
      createHash('sha256')
        .update(readFileSync(join(folder, name)))
        .digest('hex'),
    );
  const before = look();
  for (const path of [...API, '/api/runs/first/attacks?search=kind1&show=1']) await started.get(path);
  expect(look()).toEqual(before);
  const added = readdirSync(folder).filter((name) => !files.includes(name));
  expect(added.filter((name) => !/^run\.db-(wal|shm)$/.test(name))).toEqual([]);
  if (added.includes('run.db-wal')) expect(statSync(join(folder, 'run.db-wal')).size).toBe(0);
  expect(started.log).toEqual([]);
});

it('stops at once, also while a client holds a connection', async () => {
  const other = await startView((parent) => makeRun(parent, 'second'));
  const socket = connect({ host: '127.0.0.1', port: other.view.port });
  await new Promise((resolve) => socket.once('connect', resolve));
  const gone = new Promise((resolve) => socket.once('close', resolve));
  socket.on('error', () => undefined);
  await other.close();
  await gone;
  await expect(other.send({ path: '/' })).rejects.toMatchObject({ code: 'ECONNREFUSED' });
});
