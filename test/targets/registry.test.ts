import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { silentProgress } from '../../src/base/progress.ts';
import {
  defineTarget,
  isTunable,
  mapTargetModels,
  targetDevice,
  targetKindOf,
  targetKinds,
  targetModelName,
  targetSchema,
  variationSchema,
  varyTarget,
  withTargetModel,
} from '../../src/targets/registry.ts';
import { createScriptedTarget } from '../../src/targets/scripted-target.ts';
import { createTargetKind, NO_MODEL_FACTS, type TargetConfig, type TargetHost } from '../../src/targets/target-kind.ts';
import { asking, describeTargetContract } from './target-contract.ts';

const HOST: TargetHost = {
  openDecoder: async (spec) => Promise.reject(new Error(`no model ${spec} here`)),
  sourceOf: async () => undefined,
  seed: 3,
  threads: 1,
  progress: silentProgress,
  signal: new AbortController().signal,
  world: undefined,
};

const otherwise = ['Yes.', 'No.'];
const before = targetSchema();

/** A kind as a user writes one: no model of its own, the rest of its keys typed by `fields`. */
const parrot = defineTarget({
  name: 'parrot',
  describe: 'says what it was taught',
  fields: {
    engine: z.string().min(1),
    voice: z.strictObject({ pitch: z.number().default(1) }).prefault({}),
    device: z.string().optional(),
  },
  modelKeys: ['engine'],
  plan: async ({ kind, engine, voice }, { seed }) => {
    const facts = { ...NO_MODEL_FACTS, kind, model: `${engine} at ${voice.pitch}` };
    const open = async () => {
      const target = createScriptedTarget({ rules: [], otherwise, seed });
      return { target, facts, checkpoint: undefined, close: () => target.close() };
    };
    return { facts, open };
  },
  vary: (given, own) => ({ ...own, ...given }) as never,
  withModel: (config, model, template) => ({ ...config, engine: `${model}/${template ?? 'own'}` }),
});

const parse = (config: object): TargetConfig => targetSchema().parse(config);

describe('the schema of a kind', () => {
  it('has the fields of the kind, and how every target is asked, with their defaults', () => {
    expect(parse({ kind: 'parrot', engine: 'polly' })).toEqual({
      kind: 'parrot',
      engine: 'polly',
      voice: { pitch: 1 },
      decode: { temperature: 0.7, topP: 0.95, topK: 0, maxNewTokens: 32 },
      responses: 5,
    });
  });

  it.each([
    ['an unknown key', { kind: 'parrot', engine: 'polly', modle: 'x' }],
    ['an unknown key of decode', { kind: 'parrot', engine: 'polly', decode: { temprature: 1 } }],
    ['a key of another kind', { kind: 'parrot', engine: 'polly', rules: [] }],
    ['a missing key', { kind: 'parrot' }],
    ['a wrong value', { kind: 'parrot', engine: '' }],
    ['no responses', { kind: 'parrot', engine: 'polly', responses: 0 }],
    ['an unknown kind', { kind: 'parot', engine: 'polly' }],
    ['no kind', { engine: 'polly' }],
  ])('refuses %s', (_name, config) => {
    expect(targetSchema().safeParse(config).success).toBe(false);
  });

  it('accepts kinds that were registered before it was built, none after', () => {
    expect(before.safeParse({ kind: 'parrot', engine: 'polly' }).success).toBe(false);
    expect(before.safeParse({ kind: 'scripted' }).success).toBe(true);
  });

  it('of a kind that is not registered is no part of the config', () => {
    const fields = {};
    const kind = createTargetKind({ name: 'quiet', describe: '', fields, plan: () => Promise.reject(new Error()) });
    expect(kind.schema.safeParse({ kind: 'quiet' }).success).toBe(true);
    expect(kind.modelKeys).toEqual([]);
    expect(targetKinds.has('quiet')).toBe(false);
    expect(targetSchema().safeParse({ kind: 'quiet' }).success).toBe(false);
  });
});

describe('the registry', () => {
  const plan = () => Promise.reject(new Error());

  it('refuses a name that is taken, and one that cannot be a value of a config', () => {
    const define = (name: string) => defineTarget({ name, describe: '', fields: {}, plan });
    expect(() => define('local')).toThrow('define target kind: the name local is taken');
    expect(() => define('parrot')).toThrow(/the name parrot is taken/);
    expect(() => define('Parrot 2')).toThrow(/got the name "Parrot 2", expected lower case/);
    expect(targetKinds.names()).toEqual([
      'local',
      'openai',
      'http',
      'ai-sdk',
      'module',
      'command',
      'scripted',
      'parrot',
    ]);
  });

  it('names the value, the known kinds and the nearest of them for an unknown kind', () => {
    const lost = { kind: 'parot', decode: asking(1).decode, responses: 1 };
    const unknown = {
      code: 'usage',
      message: 'target kind: got parot, expected one of local, openai, http, ai-sdk, module, command, scripted, parrot',
      hint: 'did you mean parrot?',
    };
    for (const use of [
      () => targetKindOf(lost),
      () => varyTarget(lost, parse({ kind: 'scripted' })),
      () => withTargetModel(lost, 'm'),
      () => isTunable(lost),
      () => targetModelName(lost),
      () => mapTargetModels(lost, (model) => model),
    ]) {
      expect(use).toThrow(expect.objectContaining(unknown));
    }
  });

  it('plans and opens a kind of a user like any other', async () => {
    const config = parse({ kind: 'parrot', engine: 'polly', voice: { pitch: 2 } });
    const planned = await targetKindOf(config).plan(config, HOST);
    expect(planned.facts).toEqual({ ...NO_MODEL_FACTS, kind: 'parrot', model: 'polly at 2' });
    expect(planned.model).toBeUndefined();
    const { target, facts, close } = await planned.open([]);
    expect(facts).toEqual(planned.facts);
    expect(await target.ask([{ attack: 'a', streamName: ['x'] }], asking(2))).toHaveLength(1);
    await close();
    await expect(target.ask([], asking(1))).rejects.toMatchObject({ code: 'target' });
  });
});

describe('a variation of a target', () => {
  const own = parse({ kind: 'parrot', engine: 'polly', responses: 2 });

  it('is what the kind makes of the given keys over the own target', () => {
    expect(varyTarget({ kind: 'parrot', voice: { pitch: 3 } }, own)).toEqual({ ...own, voice: { pitch: 3 } });
  });

  it('is the given config with its defaults where the kind has no rule, and is refused where that is not whole', () => {
    expect(varyTarget({ kind: 'scripted', otherwise: ['No.'] }, own)).toEqual(
      parse({ kind: 'scripted', otherwise: ['No.'] }),
    );
    expect(() => varyTarget({ kind: 'scripted', otherwise: [] }, own)).toThrow(/otherwise: Too small/);
  });

  it('of a local target is asked as the run asks it, or as a named model asks for', () => {
    const local = parse({ kind: 'local', model: 'a', systemPrompt: 'be nice', template: 'plain', precision: 'int8' });
    expect(varyTarget({ kind: 'local', layers: 3 }, local)).toMatchObject({
      model: 'a',
      systemPrompt: 'be nice',
      template: 'plain',
      precision: 'fp32',
      layers: 3,
    });
    const other = varyTarget({ kind: 'local', model: 'b' }, local);
    expect(other).toMatchObject({ model: 'b', precision: 'fp32' });
    expect(other.systemPrompt).toBeUndefined();
    expect(() => varyTarget({ kind: 'local', layers: 3 }, own)).toThrow(
      expect.objectContaining({ code: 'usage', hint: 'name a model', message: expect.stringContaining('parrot') }),
    );
  });

  it('of a kind that needs keys is refused with those that are missing', () => {
    expect(() => varyTarget({ kind: 'openai', model: 'm' }, own)).toThrow(
      expect.objectContaining({
        code: 'usage',
        message: expect.stringMatching(/^target of kind openai: baseUrl: /),
        hint: 'name every required key of the kind openai',
      }),
    );
  });

  it('is written with every key but the kind optional, at any depth, and nothing else', () => {
    const schema = variationSchema({ label: z.string() });
    expect(schema.parse({ kind: 'parrot', label: 'a', decode: { topK: 2 } })).toEqual({
      kind: 'parrot',
      label: 'a',
      decode: { topK: 2 },
    });
    expect(schema.parse({ kind: 'scripted', label: 'a' })).toEqual({ kind: 'scripted', label: 'a' });
    expect(schema.safeParse({ kind: 'parrot', label: 'a', decode: { topk: 2 } }).success).toBe(false);
    expect(schema.safeParse({ kind: 'parrot', label: 'a', rules: [] }).success).toBe(false);
    expect(schema.safeParse({ kind: 'parrot' }).success).toBe(false);
  });
});

describe('the model behind a target', () => {
  const own = parse({ kind: 'parrot', engine: 'polly', device: 'cpu' });
  const scripted = parse({ kind: 'scripted' });

  it('can be replaced where the kind says how, which is what makes it tunable', () => {
    expect(isTunable(own)).toBe(true);
    expect(withTargetModel(own, 'tuned')).toEqual({ ...own, engine: 'tuned/own' });
    expect(withTargetModel(own, 'tuned', 'plain')).toEqual({ ...own, engine: 'tuned/plain' });
    expect(isTunable(scripted)).toBe(false);
    expect(withTargetModel(scripted, 'tuned')).toBeUndefined();
  });

  it('of a local target is replaced whole, in fp32, under its own template unless one is given', () => {
    const local = parse({ kind: 'local', model: 'a', layers: 2, precision: 'int8', template: 'plain' });
    const tuned = withTargetModel(local, 'b');
    expect(tuned).toEqual({ ...parse({ kind: 'local', model: 'b', template: 'plain' }) });
    expect(withTargetModel(local, 'b', 'chat')?.template).toBe('chat');
  });

  it('is named by the first of its model keys, or by the kind', () => {
    expect(targetModelName(own)).toBe('polly');
    expect(targetModelName(scripted)).toBe('scripted');
    expect(targetDevice(own)).toBe('cpu');
    expect(targetDevice(scripted)).toBeUndefined();
  });

  it('is mapped in every model key, and no other key changes', () => {
    expect(mapTargetModels(own, (model) => `/models/${model}`)).toEqual({ ...own, engine: '/models/polly' });
    expect(mapTargetModels(scripted, () => 'never')).toEqual(scripted);
    const { engine: _engine, ...without } = own;
    expect(mapTargetModels(without, () => 'never')).toEqual(without);
  });
});

describeTargetContract('a target of a user', async () => {
  const config = parse({ kind: 'parrot', engine: 'polly' });
  return (await (await parrot.plan(config, HOST)).open([])).target;
});
