import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RedisServer, startRedis } from '../../lab/queue/redis-server.ts';
import { cli } from './cli-runner.ts';

let redis: RedisServer;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis?.remove());

describe('floodgate worker', () => {
  it('says what it is of before anything else, and what it did at the end', async () => {
    const controller = new AbortController();
    let stderr = '';
    const sink = {
      write: (text: string) => {
        stderr += text;
        if (/takes jobs/.test(stderr)) controller.abort();
      },
    };
    const { code, stdout } = await cli(['worker', '--queue', redis.url], { signal: controller.signal, stderr: sink });
    expect(code, stderr).toBe(0);
    expect(stderr).toMatch(
      new RegExp(`^worker of ${redis.url}; Ctrl-C hands its jobs back and stops it\nworker .*:\\d+ takes jobs\n`),
    );
    expect(stdout).toMatch(
      /^worker .*:\d+ stopped: 0 jobs, 0 attacks drawn, 0 answers, 0 verdicts, 0 whole runs, 0 jobs handed back\n$/,
    );
  });

  it('prints one JSON object alone under --json', async () => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 500);
    const { stdout, stderr } = await cli(['worker', '--queue', redis.url, '--json'], { signal: controller.signal });
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toMatchObject({
      queue: redis.url,
      jobs: 0,
      answers: 0,
      verdicts: 0,
      handedBack: 0,
      refused: 0,
    });
  });

  it.each([
    [['worker'], /--queue/],
    [['worker', '--queue', 'http://127.0.0.1'], /--queue: must begin with redis:\/\//],
    [
      ['worker', '--queue', 'redis://:hidden-secret@127.0.0.1'],
      /--queue: must hold no password.*FLOODGATE_QUEUE_PASSWORD/,
    ],
    [['worker', '--queue', 'redis://far.example'], /FLOODGATE_QUEUE_KEY is not set/],
    [['worker', '--queue', 'redis://127.0.0.1', '--concurrency', '0'], /at least 1/],
    [['worker', '--queue', 'redis://127.0.0.1', '--take', 'asks,all'], /--take.*expected asks, .*runs/],
  ])('refuses %j with exit code 2', async (args, why) => {
    const { code, stderr } = await cli(args);
    expect(code).toBe(2);
    expect(stderr).toMatch(why);
    expect(stderr).not.toContain('hidden-secret');
  });
});
