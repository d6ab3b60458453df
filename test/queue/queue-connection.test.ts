import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { freePort, type RedisServer, startRedis } from '../../lab/queue/redis-server.ts';
import { queueAddress } from '../../src/queue/connection.ts';
import { openJobQueue } from '../../src/queue/job-queue.ts';
import { queueSection } from '../../src/queue/queue-section.ts';
import { createSigner } from '../../src/queue/signing.ts';
import type { Config } from '../../src/stages/config/config.ts';
import { type CliOutcome, cli } from '../cli/cli-runner.ts';
import { selfSignedCertificate } from '../support/self-signed.ts';
import { openWorkersOf, queueConfig, startLocalWorker } from './local-workers.ts';

const SCRIPTED = { kind: 'scripted', otherwise: ['fine'] };
const signer = createSigner(undefined);
const addressOf = (url: string) => queueAddress(queueSection.unwrap().parse({ url }));

/** A first connection that Redis or TLS refuses is given up at once; one without an answer after 5 s. */
const AT_ONCE_MS = 4000;

it('a learner without Redis says so', async () => {
  await expect(openJobQueue(addressOf('redis://127.0.0.1:1'), signer)).rejects.toMatchObject({
    code: 'run',
    message: expect.stringMatching(/^queue: cannot reach redis:\/\/127\.0\.0\.1:1: .*ECONNREFUSED/),
    hint: 'start redis-server there, or correct the address',
  });
});

describe('a Redis with a password', () => {
  const SECRET = 'opensesame-of-this-test';
  let locked: RedisServer;
  beforeAll(async () => {
    locked = await startRedis(['--requirepass', SECRET]);
  });
  afterEach(() => {
    delete process.env.FLOODGATE_QUEUE_PASSWORD;
  });
  afterAll(() => locked?.remove());

  it('takes that of the environment', async () => {
    process.env.FLOODGATE_QUEUE_PASSWORD = SECRET;
    const worker = await startLocalWorker(locked.url);
    const workers = await openWorkersOf(queueConfig(locked.url, SCRIPTED));
    expect(workers.planned.facts.model).toBe('scripted');
    await workers.close();
    await worker.stop();
  });

  it.each([
    ['none', undefined],
    ['another one', 'wrong-password-here'],
  ])('refuses %s at once, and no message holds it', async (_what, password) => {
    if (password !== undefined) process.env.FLOODGATE_QUEUE_PASSWORD = password;
    const startedMs = performance.now();
    const error = await openJobQueue(addressOf(locked.url), signer).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'run', hint: expect.stringContaining('FLOODGATE_QUEUE_PASSWORD') });
    expect(performance.now() - startedMs).toBeLessThan(AT_ONCE_MS);
    expect(String(error)).toMatch(/cannot reach .*(NOAUTH|WRONGPASS)/);
    expect(String(error)).not.toContain('wrong-password-here');
  });
});

describe('a Redis behind TLS', () => {
  let secure: RedisServer;
  let folder: string;
  let url: string;
  const file = (name: string): string => path.join(folder, name);

  beforeAll(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'floodgate-tls-'));
    const { key, cert } = selfSignedCertificate();
    writeFileSync(file('key.pem'), key);
    writeFileSync(file('cert.pem'), cert);
    writeFileSync(file('other.pem'), selfSignedCertificate().cert);
    const port = await freePort();
    url = `rediss://127.0.0.1:${port}`;
    const own = ['--tls-cert-file', file('cert.pem'), '--tls-key-file', file('key.pem'), '--tls-auth-clients', 'no'];
    secure = await startRedis(['--tls-port', String(port), ...own]);
  });
  afterAll(async () => {
    await secure?.remove();
    await rm(folder, { recursive: true, force: true });
  });

  /** A learner's config as docs/scale.md has it. */
  function learnerConfig(caFile?: string): Config {
    const config = queueConfig(url, SCRIPTED) as Config & { readonly queue: object };
    return { ...config, queue: { ...config.queue, ...(caFile === undefined ? {} : { caFile }) } } as Config;
  }

  /** `floodgate worker` of that Redis, with what it wrote so far. */
  function startTlsWorker(args: readonly string[]): { stop(): Promise<CliOutcome> } {
    const controller = new AbortController();
    const ended = cli(['worker', '--queue', url, ...args], { signal: controller.signal });
    return {
      stop: () => {
        controller.abort();
        return ended;
      },
    };
  }

  it('takes the jobs of a learner to a worker, where both trust its certificate', async () => {
    const worker = startTlsWorker(['--ca', file('cert.pem')]);
    const config = learnerConfig(file('cert.pem'));
    const workers = await openWorkersOf(config);
    const judge = await workers.openJudge(config.judges.training);
    const verdicts = await judge.score([
      { attack: 'a', response: 'alarm' },
      { attack: 'a', response: 'fine' },
    ]);
    expect(verdicts).toMatchObject([{ unsafe: 0.95 }, {}]);
    await workers.close();
    const { code, stdout, stderr } = await worker.stop();
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/stopped: [2-9]\d* jobs, .* 2 verdicts/);
  });

  it.each([
    ['no certificate of its own', []],
    ['the certificate of another server', ['other.pem']],
  ])('is refused at once by a worker and a learner that trust %s', async (_what, [name]) => {
    const startedMs = performance.now();
    const ca = name === undefined ? [] : ['--ca', file(name)];
    const signal = AbortSignal.timeout(AT_ONCE_MS); // ends a worker that trusts the server after all
    const { code, stderr } = await cli(['worker', '--queue', url, ...ca], { signal });
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/queue: cannot reach rediss:\/\/127\.0\.0\.1:\d+: .*certificate/);
    expect(stderr).toMatch(/--ca of a worker/);
    await expect(openWorkersOf(learnerConfig(name && file(name)))).rejects.toMatchObject({
      code: 'run',
      message: expect.stringMatching(/^queue: cannot reach rediss:.*certificate/),
      hint: expect.stringContaining('queue.caFile'),
    });
    expect(performance.now() - startedMs).toBeLessThan(2 * AT_ONCE_MS);
  });

  it('is left at once by a worker that is stopped before it is connected', async () => {
    const startedMs = performance.now();
    const worker = startTlsWorker(['--ca', file('cert.pem')]);
    await new Promise((resolve) => setImmediate(resolve)); // its connections are under way
    const { code, stderr } = await worker.stop();
    expect(code, stderr).toBe(0);
    expect(stderr).not.toMatch(/takes jobs/);
    expect(performance.now() - startedMs).toBeLessThan(AT_ONCE_MS);
  });

  it('is not looked for where the file of certificates cannot be read', async () => {
    const { code, stderr } = await cli(['worker', '--queue', url, '--ca', file('missing.pem')]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/cannot read .*missing\.pem: .*ENOENT/);
    expect(stderr).toMatch(/--ca of a worker/);
  });
});
