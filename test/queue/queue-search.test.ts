import { InferenceSession } from 'onnxruntime-node';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { type RedisServer, startRedis } from '../../lab/queue/redis-server.ts';
import { randomStream } from '../../src/base/random.ts';
import type { Attacker } from '../../src/learning/attacker.ts';
import type { DrawPlan } from '../../src/learning/loops/draw-plan.ts';
import { drawFresh } from '../../src/learning/loops/fresh-attacks.ts';
import { consultReference, drawAttacks } from '../../src/learning/loops/rollout.ts';
import { Surrogate } from '../../src/learning/proposals/surrogate.ts';
import type { DecoderCheckpoint } from '../../src/models/checkpoint/checkpoint.ts';
import { ComeAnswers } from '../../src/queue/come-answers.ts';
import { queueAddress } from '../../src/queue/connection.ts';
import { openJobQueue } from '../../src/queue/job-queue.ts';
import type { JobQueue } from '../../src/queue/pending-job.ts';
import { ASKS, SEARCHES } from '../../src/queue/protocol.ts';
import { createQueueSearch, type QueueSearchParts } from '../../src/queue/queue-search.ts';
import { queueSection } from '../../src/queue/queue-section.ts';
import { modelWeights } from '../../src/queue/search-job.ts';
import { createSigner } from '../../src/queue/signing.ts';
import { openRunAttacker } from '../../src/stages/campaign/run-attacker.ts';
import { openRunModels } from '../../src/stages/campaign/run-models.ts';
import { embedEach } from '../../src/stages/embed-each.ts';
import { createTinyCampaign, type TinyCampaign } from '../stages/tiny-campaign.ts';
import { describedParts, type LocalWorker, openWorkersOf, startLocalWorker } from './local-workers.ts';
import { openRawRedis, type RawRedis } from './raw-redis.ts';

let redis: RedisServer;
let client: RawRedis;
let tiny: TinyCampaign;
let jobs: JobQueue;
let model: DecoderCheckpoint;
let attacker: Attacker;
let embed: (texts: readonly string[]) => Promise<Float32Array[]>;
let worker: LocalWorker | undefined;
const closers: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  redis = await startRedis();
  const raw = await openRawRedis(redis.port);
  client = raw.client;
  closers.push(raw.close);
  tiny = await createTinyCampaign();
  const config = tiny.config();
  const models = openRunModels(config, tiny.io(), undefined);
  model = await models.openDecoder(config.attacker.model, 'attacker');
  attacker = await openRunAttacker(config, model, { device: 'cpu', threads: 1 });
  const { encoder, entry } = await models.openEncoder();
  encoderWeights = modelWeights(entry);
  embed = embedEach(encoder);
  const address = queueAddress(queueSection.unwrap().parse({ url: redis.url }));
  jobs = await openJobQueue(address, createSigner(undefined), undefined, SEARCHES);
  closers.push(
    () => attacker.close(),
    async () => encoder.close(),
    () => jobs.close(),
  );
});
afterEach(async () => {
  await worker?.stop();
  worker = undefined;
});
afterAll(async () => {
  for (const close of closers) await close();
  await redis?.remove();
  await tiny?.remove();
});

let encoderWeights = '';
let runs = 0;

const startWorkerHere = async (): Promise<void> => {
  worker = await startLocalWorker(redis.url, { take: [SEARCHES], cacheDir: tiny.io().cacheDir as string });
};

/** Searches of a run of its own that ask nobody. */
function searchOf(changes: Partial<QueueSearchParts> = {}) {
  const { attacker: section, encoder, target, judges } = tiny.config();
  return createQueueSearch({
    jobs,
    run: `run ${runs++}`,
    stage: 'gflownet',
    description: describedParts({ target, judges }),
    attacker: { section: { ...section }, weights: modelWeights(model) },
    encoder: { section: { ...encoder }, weights: encoderWeights },
    spec: attacker.spec,
    reference: adapterOf(1),
    asks: null,
    answers: new ComeAnswers(),
    notes: { find: () => undefined, keep: () => undefined },
    signal: new AbortController().signal,
    ...changes,
  });
}

/** An adapter of random numbers. */
function adapterOf(seed: number): Float32Array {
  const { data } = attacker.createParameters();
  const stream = randomStream(seed, 'adapter');
  for (let i = 0; i < data.length; i++) data[i] = 0.2 * (stream.nextFloat() - 0.5);
  return data;
}

function stateOf(data: Float32Array) {
  const vector = attacker.createParameters();
  vector.data.set(data);
  return attacker.stateOf(vector);
}

const RULE = {
  fluency: { form: { kind: 'min-k-gate', k: 2, threshold: -4, penalty: -30 }, minTokens: 2, shortPenalty: -500 },
  truncationPenalty: true,
} as const;

const PLAN: DrawPlan = {
  seed: 3,
  update: 5,
  slots: 70, // more than are drawn at once: two jobs
  tempered: 20,
  temperatures: { low: 0.5, high: 2 },
  parents: [],
  rewriteChange: 0.5,
};

describe('a search on a worker', () => {
  it('brings the attacks and opinions of the learner, to the last bit', async () => {
    await startWorkerHere();
    const policy = adapterOf(2);
    const [{ tokens: parent } = { tokens: [] }] = await drawAttacks(attacker, stateOf(policy), [
      { stream: randomStream(9, 'parent'), temperature: 1 },
    ]);
    const surrogate = new Surrogate(PLAN.seed);
    for (const [i, vector] of (await embed(Array.from({ length: 80 }, (_, k) => `text ${k}`))).entries())
      surrogate.learn(vector, -(i % 7) / 7);
    const screen = { candidates: 2, controlShare: 0.25, minCorrelation: -1 };
    for (const plan of [PLAN, { ...PLAN, parents: [parent, parent] }, { ...PLAN, screen }]) {
      const searches = searchOf();
      const { search } = searches;
      const states = 'screen' in plan ? { policy, surrogate: surrogate.state() } : { policy };
      const { attacks, opinions, stored } = await search(plan, states, RULE);
      const parts = { attacker, state: stateOf(policy), surrogate, embed };
      const drawn = await drawFresh(parts, plan);
      expect(attacks).toEqual(drawn.map(({ attack, prediction }) => ({ attack, prediction })));
      const known = await consultReference(
        attacker,
        stateOf(adapterOf(1)),
        drawn.map(({ attack }) => attack),
        RULE,
      );
      expect(opinions.map(({ logPRef, fluency }) => [logPRef, fluency])).toEqual(
        known.map(({ logPRef, fluency }) => [logPRef, fluency]),
      );
      expect(new Set(attacks.map(({ attack }) => attack.source)).size).toBeGreaterThan(1);
      stored();
      searches.close();
    }
  });

  it('keeps no second copy of weights on a worker with memory: small, and asks a local target without one', async () => {
    const opened = vi.spyOn(InferenceSession, 'create');
    const { cacheDir } = tiny.io();
    worker = await startLocalWorker(redis.url, {
      take: [SEARCHES, ASKS],
      cacheDir: cacheDir as string,
      memory: 'small',
    });
    const { search } = searchOf();
    (await search(PLAN, { policy: adapterOf(7) }, RULE)).stored();
    const ofSearch = opened.mock.calls.length;
    const local = 'target={kind: local, model: ./attacker, responses: 1, decode: {maxNewTokens: 4}}';
    const config = tiny.config([local, `queue.url=${redis.url}`]);
    const workers = await openWorkersOf(config, tiny.io());
    const open = await workers.planned.open([]);
    await open.target.ask([{ attack: 'a cat', streamName: ['asked'] }], { responses: 1, decode: config.target.decode });
    await open.close();
    await workers.close();
    expect(ofSearch).toBeGreaterThan(0);
    expect(opened.mock.calls.length).toBeGreaterThan(ofSearch);
    for (const [, sessionOptions] of opened.mock.calls as unknown as [string, InferenceSession.SessionOptions][])
      expect(sessionOptions.extra).toMatchObject({ session: { disable_prepacking: '1' } });
    opened.mockRestore();
  });

  it('leaves nothing of itself in Redis when it is stored', async () => {
    await startWorkerHere();
    await client.flushall();
    const searches = searchOf();
    (await searches.search(PLAN, { policy: adapterOf(4) }, RULE)).stored();
    searches.close();
    await expect
      .poll(async () => (await client.keys('floodgate:*')).filter((key) => /:(job-|\d+$)|blobs/.test(key)))
      .toEqual([]);
  });

  it('has its adapter put into Redis again where that lost it', async () => {
    const { search } = searchOf();
    const searching = search({ ...PLAN, slots: 64 }, { policy: adapterOf(5) }, RULE);
    const blobs = () => client.keys('floodgate:blobs:*');
    await expect.poll(async () => (await blobs()).length).toBe(4); // two adapters of one piece
    await expect.poll(async () => (await client.keys('floodgate:searches:job-*')).length).toBe(1);
    for (const key of await blobs()) await client.del(key);
    await startWorkerHere();
    expect((await searching).attacks).toHaveLength(64);
    expect(worker?.lines.join()).toMatch(/Redis does not hold the bytes/);
  });

  it.each([
    ['other weights', { attacker: { section: {}, weights: 'others' } }, {}, /attacker: this worker has other weights/],
    ['an adapter of another size', {}, { policy: new Float32Array(7) }, /adapter: got 28 bytes, expected \d+/],
    ['what is no number', {}, { policy: 'NaN' }, /adapter: it holds values that are no numbers/],
    ['tokens out of the table', {}, { parents: [[99_999]] }, /tokens that the attacker has not/],
    ['a surrogate that is none', {}, { surrogate: {} }, /surrogate: its state is of another form/],
  ] as const)('is refused for %s', async (_, parts, changes, message) => {
    await startWorkerHere();
    const section = { ...tiny.config().attacker };
    const own = 'attacker' in parts ? { attacker: { ...parts.attacker, section } } : {};
    const { search } = searchOf(own);
    const given = 'policy' in changes ? changes.policy : adapterOf(6);
    const policy = given === 'NaN' ? adapterOf(6).fill(Number.NaN) : given;
    const hasSurrogate = 'surrogate' in changes;
    const plan = {
      ...PLAN,
      ...('parents' in changes ? { parents: changes.parents } : {}),
      ...(hasSurrogate ? { screen: { candidates: 2, controlShare: 1, minCorrelation: 0 } } : {}),
    };
    const states = hasSurrogate ? { policy, surrogate: {} as ReturnType<Surrogate['state']> } : { policy };
    await expect(search(plan, states, RULE)).rejects.toThrow(message);
  });

  it('is no job where it would draw without an end', async () => {
    await startWorkerHere();
    const { search } = searchOf();
    const screen = { candidates: 2, controlShare: 1, minCorrelation: 0 };
    await expect(search({ ...PLAN, slots: 40_000, screen }, { policy: adapterOf(7) }, RULE)).rejects.toThrow(
      /must draw at most 65536 attacks/,
    );
  });
});
