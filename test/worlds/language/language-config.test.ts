import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../../src/stages/campaign/config-load.ts';
import { sft } from '../../../src/stages/sft.ts';
import {
  DEFAULT_LANGUAGE_WORLD,
  LANGUAGE_ATTACK,
  LANGUAGE_SFT,
  type LanguageSpec,
} from '../../../src/worlds/language/language-spec.ts';
import { isMadeWorld } from '../../../src/worlds/world-registry.ts';
import { DEFAULT_WORLD } from '../../../src/worlds/world-spec.ts';

const parse = (text: string, overrides: readonly string[] = []) =>
  parseConfig(text, { fileName: 'world.yaml', folder: '/work', overrides });

describe('the kinds of world in a config', () => {
  it('leave a made world as it was, to the last key', () => {
    expect(parse('world: {}\n').world).toStrictEqual({ ...DEFAULT_WORLD });
    expect(parse('world: { seed: 7, keys: 24 }\n').world).toStrictEqual({ ...DEFAULT_WORLD, seed: 7, keys: 24 });
    const named = parse('world: { kind: made }\n');
    expect(named).toEqual({ ...parse('world: {}\n'), world: { kind: 'made', ...DEFAULT_WORLD } });
    expect(isMadeWorld(named.world)).toBe(true);
  });

  it('fill in a whole run for a language world: a real attacker, a rule, the judge of worlds', () => {
    const config = parse('world: { kind: language }\n');
    expect(config.world).toStrictEqual(DEFAULT_LANGUAGE_WORLD);
    expect(isMadeWorld(config.world)).toBe(false);
    expect(config.attacker).toMatchObject({ model: 'smollm2-135m-instruct', method: 'lora', ...LANGUAGE_ATTACK });
    expect(config.target).toMatchObject({ kind: 'regions', responses: 1 });
    expect(config.judges.training).toEqual({ kind: 'world' });
    expect(config.encoder.model).toBe('minilm');
    expect(config.sft).toMatchObject({ ...LANGUAGE_SFT, validationShare: 0 });
  });

  it('take the attacker and the encoder of the world, and paths from the folder of the config', () => {
    const gemma = parse('world: { kind: language, attacker: gemma3-270m }\n');
    expect(gemma.attacker.model).toBe('gemma3-270m');
    const local = parse('world: { kind: language, attacker: ./a, encoder: ./e }\n');
    expect(local.attacker.model).toBe('/work/a');
    expect(local.encoder.model).toBe('/work/e');
    expect(local.world).toMatchObject({ attacker: '/work/a', encoder: '/work/e' });
  });

  it('draw more by default where successes are rarer, and as many as the config says', () => {
    const samples = (...overrides: string[]) => {
      const { world } = parse('world: { kind: language }\n', overrides);
      return (world as LanguageSpec).samples;
    };
    expect(samples('world.baseRate=0.05')).toBe(4096);
    expect(samples('world.baseRate=0.005')).toBe(12_288);
    expect(samples('world.baseRate=0.001')).toBe(61_440);
    expect(samples('world.baseRate=0.0005')).toBe(100_000);
    expect(samples('world.baseRate=0.005', 'world.samples=512')).toBe(512);
  });

  it('let a run start as the reference of the world, unless its adapter has another shape', () => {
    const from = (...more: string[]) => parse('world: { kind: language }\n', ['attacker.from=world', ...more]);
    const context = { seeds: 100, workOf: () => undefined, isTrained: () => true };
    expect(from().attacker.from).toBe('world');
    expect(sft.plan?.(from(), context).trainedRows).toBe(0);
    expect(sft.plan?.(parse('world: { kind: language }\n'), context).trainedRows).toBeGreaterThan(0);
    for (const other of ['attacker.lora.rank=8', 'attacker.method=full', 'attacker.model=gemma3-270m']) {
      expect(() => from(other), other).toThrow(/attacker.from.*own model, method and lora/);
    }
  });

  it('let an attacker that knows language learn from examples in its prompt', () => {
    expect(parse('world: { kind: language }\nattackers: [icl]\n').attackers).toEqual(['icl']);
    expect(() => parse('world: {}\nattackers: [icl]\n')).toThrow(/icl, which needs a model that knows language/);
  });

  it.each([
    ['world: { kind: langage }\n', /world\.kind: got .*langage.*, expected one of made, language /],
    ['world: { kind: language, keys: 24 }\n', /world\.keys/],
    ['world: { regions: 8 }\n', /world\.regions/],
    ['world: { kind: language, regions: 40 }\n', /world\.regions: got 40, expected at most 24/],
    ['world: { kind: language, baseRate: 0 }\n', /world\.baseRate: got 0, expected at least 0\.0005/],
  ])('refuse %s', (text, message) => {
    expect(() => parse(text)).toThrow(message);
  });
});
