import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { acquireLock } from '../../src/base/lock.ts';
import { UNPRINTABLE } from '../../src/base/unprintable.ts';
import { openStore, type RunStore } from '../../src/runs/store/run-store.ts';
import { builtProgram } from '../support/compiled-source.ts';
import { testPath } from '../support/golden-file.ts';
import {
  addModel,
  type BadInputPlace,
  createBadInputPlace,
  type Ended,
  filledWith,
  type Header,
  withHeader,
} from './bad-input-place.ts';

/** Every test starts processes: a busy machine may be slow at that. */
vi.setConfig({ testTimeout: 240_000 });

const places: BadInputPlace[] = [];

afterAll(async () => {
  for (const { tiny } of places) await tiny.remove();
});

async function newPlace(): Promise<BadInputPlace> {
  const place = await createBadInputPlace(`${builtProgram()}/cli/main.js`);
  places.push(place);
  return place;
}

/** One message and one remedy, no stack, nothing that nobody foresaw. */
function expectTold({ code, stderr, stdout }: Ended, expected: { code: number; message: RegExp; hint: RegExp }): void {
  expect(code, stderr).toBe(expected.code);
  expect(stdout).toBe('');
  expect(stderr.match(/^error: /gm)).toHaveLength(1);
  expect(stderr).toMatch(expected.message);
  expect(stderr.split('\n').find((line) => line.startsWith('hint: '))).toMatch(expected.hint);
  expect(stderr).not.toMatch(/^\s+at |--debug shows/m);
}

async function readStore<T>(place: BadInputPlace, read: (store: RunStore) => T): Promise<T> {
  const store = await openStore(place.file('runs', 'r', 'run.db'), { readOnly: true });
  try {
    return read(store);
  } finally {
    store.close();
  }
}

const TENSOR = 'model.layers.0.mlp.up_proj.weight';
const WEIGHTS = ['attacker', 'model.safetensors'];
const entryOf = (header: Header) => header[TENSOR] as Header[string];
const AGAIN = /copy or pull the model again/;

describe('a model file that is not what it says', () => {
  const huge = (bytes: Buffer): Buffer => {
    const lying = Buffer.from(bytes);
    lying.writeBigUInt64LE(2n ** 60n);
    return lying;
  };
  const cases: [string, string[], (bytes: Buffer) => Buffer, RegExp][] = [
    ['cut short', WEIGHTS, (bytes) => bytes.subarray(0, 15_000), /end at byte 32440, but the file has 15000 bytes/],
    ['empty', WEIGHTS, () => Buffer.alloc(0), /file has 0 bytes/],
    ['a header of an exabyte', WEIGHTS, huge, /header length is 1152921504606846976, expected at most/],
    [
      'a tensor of a terabyte',
      WEIGHTS,
      withHeader((header) => {
        entryOf(header).data_offsets[1] += 1e12;
      }),
      /takes 1000000002304 bytes, expected 2304/,
    ],
    [
      'another shape than its config says',
      WEIGHTS,
      withHeader((header) => {
        entryOf(header).shape = [12, 48];
      }),
      /up_proj\.weight has shape \[12,48\], expected \[24,24\]/,
    ],
    ['a config of bytes', ['attacker', 'config.json'], () => Buffer.from([0, 1, 255]), /config\.json: not JSON/],
    [
      'a config that wants a trillion embeddings',
      ['attacker', 'config.json'],
      (bytes) => Buffer.from(bytes.toString().replace('"vocab_size": 40', '"vocab_size": 1000000000000')),
      /attacker: .*vocab_size: .*expected number to be <=/,
    ],
    [
      'half a tokenizer',
      ['attacker', 'tokenizer.json'],
      (bytes) => bytes.subarray(0, 300),
      /attacker: tokenizer\.json/,
    ],
    [
      'the tokenizer of another model',
      ['attacker', 'tokenizer.json'],
      () => readFileSync(testPath('fixtures', 'models', 'bert-encoder', 'tokenizer.json')),
      /its tokenizer has 60 tokens, but the model only 40 embeddings/,
    ],
  ];

  test.each(cases)('%s', async (_name, file, change, message) => {
    const place = await newPlace();
    place.spoil(change, ...file);
    expectTold(await place.run(), { code: 1, message, hint: AGAIN });
  });

  test('a GGUF file that counts more tensors than can be', async () => {
    const place = await newPlace();
    const header = Buffer.alloc(24);
    header.write('GGUF');
    header.writeUInt32LE(3, 4);
    header.writeBigUInt64LE(2n ** 62n, 8);
    writeFileSync(place.file('model.gguf'), header);
    const ended = await place.run(['attacker.model=./model.gguf']);
    expectTold(ended, { code: 1, message: /number of tensors .* got 4611686018427387904/, hint: AGAIN });
  });

  test('weights of NaN: refused when the model is opened, with the tensor', async () => {
    const place = await newPlace();
    place.spoil(filledWith(Number.NaN, [TENSOR]), ...WEIGHTS);
    const message = /attacker: .*up_proj\.weight is damaged, got NaN as value 0/;
    expectTold(await place.run(), { code: 1, message, hint: AGAIN });
  });

  test('weights that overflow: training stops before any harm, and resumes when the file is fixed', async () => {
    const place = await newPlace();
    place.spoil(filledWith(1e30, [TENSOR, TENSOR.replace('up_proj', 'gate_proj')]), ...WEIGHTS);
    const message = /the gradient is NaN/;
    expectTold(await place.run(), { code: 1, message, hint: /weights hold NaN, or learningRate/ });
    addModel(place, 'smollm2', 'attacker');
    const resumed = await place.floodgate('resume', 'r', '--runs-dir', 'runs');
    expect(resumed.code, resumed.stderr).toBe(0);
  });
});

describe('a config or a seed file that cannot be meant', () => {
  const SCHEMA = /floodgate config schema/;

  test('wrong types and unknown keys: all of them at once, and no run is made', async () => {
    const place = await newPlace();
    const ended = await place.run(['attacker.maxTokens=many', 'gflownet.batchSize=-3', 'attacker.lora.rnak=4']);
    expectTold(ended, { code: 2, message: /3 problems:/, hint: SCHEMA });
    expect(ended.stderr).toMatch(/attacker\.maxTokens: got "many", expected a number/);
    expect(ended.stderr).toMatch(/gflownet\.batchSize: got -3, expected at least 1/);
    expect(ended.stderr).toMatch(/did you mean attacker\.lora\.rank\?/);
    expect(existsSync(place.file('runs'))).toBe(false);
  });

  test('a config of random bytes', async () => {
    const place = await newPlace();
    writeFileSync(place.file('tiny.yaml'), Buffer.from([0xff, 0xfe, 0x00, 0xd8]));
    expectTold(await place.run(), { code: 2, message: /cannot be read \(not UTF-8 text\)/, hint: /floodgate init/ });
  });

  const seeds: [string, Buffer, RegExp][] = [
    ['nothing but blank lines', Buffer.from('\n  \n\n'), /seeds\.txt: holds no attack \(4 empty/],
    ['binary', Buffer.from([104, 105, 0, 255]), /looks binary, got a NUL byte at offset 2/],
  ];
  test.each(seeds)('seeds: %s', async (_name, bytes, message) => {
    const place = await newPlace();
    writeFileSync(place.file('seeds.txt'), bytes);
    expectTold(await place.run(), { code: 2, message, hint: /one attack a line, a CSV or a JSONL/ });
    expect(existsSync(place.file('runs'))).toBe(false);
  });
});

describe('what the machine cannot give', () => {
  test('a size that does not fit in memory is refused by the dry run', async () => {
    const place = await newPlace();
    const ended = await place.run(['attacker.maxTokens=2000', 'gflownet.batchSize=65000'], ['--dry-run']);
    const message = /it needs about [\d.]+ GiB, this machine has [\d.]+ GiB/;
    expectTold(ended, { code: 1, message, hint: /smaller batchSize of gflownet \(now 65000\)/ });
  });

  test('a runs folder whose place a file takes', async () => {
    const place = await newPlace();
    writeFileSync(place.file('runs'), 'mine');
    const ended = await place.run();
    expectTold(ended, { code: 1, message: /runs: a file exists where a folder must be/, hint: /another path/ });
    expect(readFileSync(place.file('runs'), 'utf8')).toBe('mine');
  });
});

describe('a target or a judge that misbehaves', () => {
  test('no attack succeeds: smoothing says so and trains nothing; the run in use by another process is refused', async () => {
    const place = await newPlace();
    const ended = await place.run(['target.rules=[]']);
    expect(ended.code, ended.stderr).toBe(0);
    expect(ended.stdout).toMatch(
      /warning in smoothing: 0 distinct attacks .* nothing was trained; lower them, or train longer/,
    );
    expect(existsSync(place.file('runs', 'r', 'checkpoints', 'smoothing-0000002.safetensors'))).toBe(false);
    const before = readFileSync(place.file('runs', 'r', 'report.json'));
    const lock = await acquireLock(place.file('runs', 'r', 'lock')); // this process is the other one
    try {
      const second = await place.floodgate('resume', 'r', '--runs-dir', 'runs');
      expectTold(second, { code: 1, message: new RegExp(`in use by process ${process.pid}`), hint: /./ });
    } finally {
      await lock.release();
    }
    expect(readFileSync(place.file('runs', 'r', 'report.json'))).toEqual(before);
  });

  test('a judge that returns NaN: it stops with the reason, keeps every response, and resumes when the judge is fixed', async () => {
    const place = await newPlace();
    addModel(place, 'bert-classifier', 'judge');
    const [inner, outer] = ['intermediate', 'output'].map((part) => `bert.encoder.layer.1.${part}.dense`);
    const overflowing = filledWith(1e30, [`${inner}.bias`, `${outer}.weight`]);
    place.spoil(overflowing, 'judge', 'model.safetensors');
    const judge = 'judges.training={kind: classifier, model: ./judge, unsafeLabels: [toxic]}';
    expectTold(await place.run([judge]), {
      code: 1,
      message: /none of its 8 attacks could be scored: .*judge: returned NaN, expected a probability/,
      hint: /judges\.training/,
    });
    const seeds = await readStore(place, (store) => store.attacks({ stage: 'gflownet', fromUpdate: -1 }));
    expect(seeds.length).toBeGreaterThan(0);
    expect(seeds.every(({ meanUnsafe, responseCount }) => meanUnsafe === null && responseCount > 0)).toBe(true);
    cpSync(
      testPath('fixtures', 'models', 'bert-classifier', 'model.safetensors'),
      place.file('judge', 'model.safetensors'),
    );
    const resumed = await place.floodgate('resume', 'r', '--runs-dir', 'runs');
    expect(resumed.code, resumed.stderr).toBe(0);
  });

  test('a target that returns nothing: judged as it is, stored, ASR 0', async () => {
    const place = await newPlace();
    const ended = await place.run(['target.rules=[]', 'target.otherwise=[""]'], ['--json']);
    expect(ended.code, ended.stderr).toBe(0);
    const { stages } = JSON.parse(ended.stdout) as { stages: { name: string; metrics: { asr: { value: number } } }[] };
    expect(stages.find(({ name }) => name === 'gflownet')?.metrics.asr.value).toBe(0);
    const text = await readStore(place, (store) => {
      const [first] = store.attacks({ stage: 'evaluate:gflownet' });
      return store.responses(first?.id ?? -1)[0]?.text;
    });
    expect(text).toBe('');
  });

  test('a target that writes control characters: stored whole, never printed raw', async () => {
    const place = await newPlace();
    const ended = await place.run(['target.rules=[]', 'target.otherwise=["\\e[2J\\a\\0 alarm \\u202e"]']);
    expect(ended.code, ended.stderr).toBe(0);
    const shown = await place.floodgate('show', 'r', '--runs-dir', 'runs', '--attacks', '3');
    expect(shown.code).toBe(0);
    expect(shown.stdout).toContain('alarm');
    for (const text of [ended.stdout, shown.stdout]) {
      expect(text.replaceAll('\n', '').match(UNPRINTABLE)).toBe(null);
    }
    const stored = await readStore(place, (store) => {
      const [first] = store.attacks({ stage: 'evaluate:gflownet' });
      return store.responses(first?.id ?? -1)[0]?.text;
    });
    expect(stored).toBe('\u001b[2J\u0007\0 alarm \u202e');
  });

  test('a target that writes 100 kB without a space: stored whole; a scripted megabyte is refused by its size', async () => {
    const place = await newPlace();
    const answer = 'x'.repeat(100_000);
    const withAnswer = (text: string) => place.tiny.configText.replace('fine thanks, not today', text);
    writeFileSync(place.file('tiny.yaml'), withAnswer(answer));
    const ended = await place.run(['target.rules=[]']);
    expect(ended.code, ended.stderr).toBe(0);
    const stored = await readStore(place, (store) => {
      const [first] = store.attacks({ stage: 'evaluate:gflownet' });
      return store.responses(first?.id ?? -1)[0]?.text;
    });
    expect(stored).toBe(answer);
    writeFileSync(place.file('tiny.yaml'), withAnswer('x'.repeat(1_000_000)));
    expectTold(await place.run(), { code: 2, message: /too large, got 1\d{6} bytes, expected at most \d+/, hint: /./ });
  });
});
