import { afterAll, beforeAll } from 'vitest';
import { type RedisServer, startRedis } from '../../lab/queue/redis-server.ts';
import type { RunWorkers } from '../../src/stages/campaign/run-workers.ts';
import type { Config } from '../../src/stages/config/config.ts';
import { describeJudgeContract } from '../judges/judge-contract.ts';
import { describeSeededTargetContract, describeTargetContract } from '../targets/target-contract.ts';
import { type LocalWorker, openWorkersOf, queueConfig, startLocalWorker } from './local-workers.ts';

const TARGET = {
  kind: 'scripted',
  rules: [{ contains: 'zz', respond: ['alarm bell'] }],
  otherwise: Array.from({ length: 12 }, (_, i) => `answer number ${i}`),
};

let redis: RedisServer;
let worker: LocalWorker;
let workers: RunWorkers;
let config: Config;

beforeAll(async () => {
  redis = await startRedis();
  worker = await startLocalWorker(redis.url);
  config = queueConfig(redis.url, TARGET);
  workers = await openWorkersOf(config);
});
afterAll(async () => {
  await workers?.close();
  await worker?.stop();
  await redis?.remove();
});

const openTarget = async () => (await workers.planned.open([])).target;

describeTargetContract('a target behind a queue', openTarget);
describeSeededTargetContract('a seeded target behind a queue', openTarget);
describeJudgeContract('a judge behind a queue', () => workers.openJudge(config.judges.training));
