import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RedisServer, startRedis } from '../../lab/queue/redis-server.ts';
import { startWorker } from '../../lab/queue/worker-process.ts';
import { startRunProcess } from '../stages/campaign-process.ts';
import { createTinyWholeRun, type TinyWholeRun } from '../stages/whole-run.ts';

let whole: TinyWholeRun;
let redis: RedisServer;

beforeAll(async () => {
  redis = await startRedis();
  whole = await createTinyWholeRun();
});
afterAll(async () => {
  await redis?.remove();
  await whole?.remove();
});

describe('a run with a queue', () => {
  it('is the run without one, bit for bit', async () => {
    const worker = startWorker(whole.place, ['--queue', redis.url]);
    await worker.printed(/takes jobs/);
    const place = { ...whole.place, overrides: [...whole.place.overrides, `queue.url=${redis.url}`] };
    const { code, stderr } = await startRunProcess(place, 'queued').outcome;
    expect(code, stderr).toBe(0);
    expect(whole.differences('queued')).toEqual([]);
    worker.kill('SIGINT');
    expect(await worker.ended).toEqual({ code: 0, signal: null });
    expect(worker.output()).toMatch(/stopped: \d+ jobs/);
  });
});
