import { afterAll, beforeAll, expect, it } from 'vitest';
import { openSessionCount } from '../../src/engine/runtime/session-pool.ts';
import { openGenerator } from '../../src/models/decoder/generator.ts';
import { planMemory } from '../../src/stages/campaign/plan-memory.ts';
import { openRunModels } from '../../src/stages/campaign/run-models.ts';
import { stages } from '../../src/stages/registry.ts';
import { createPlanContext } from '../../src/stages/stage.ts';
import { planTarget } from '../../src/targets/registry.ts';
import { testPath } from '../support/golden-file.ts';
import { createTinyCampaign, type TinyCampaign } from './tiny-campaign.ts';

let tiny: TinyCampaign;
beforeAll(async () => {
  tiny = await createTinyCampaign();
});
afterAll(() => tiny.remove());

const LOCAL = 'target={kind: local, model: ./attacker, responses: 1, decode: {maxNewTokens: 4}}';

it('the weights that the attacker adapts are known to the target, and those of another model, or all, are not', async () => {
  const adaptedOf = async (spec: (own: string) => string, overrides: string[] = []) => {
    const config = tiny.config(overrides);
    const models = openRunModels(config, tiny.io(), undefined);
    return (await models.openDecoder(spec(config.attacker.model), 'target')).adapted;
  };
  const { targets } = tiny.config().attacker.lora;
  expect(await adaptedOf((own) => own)).toEqual(targets);
  expect(await adaptedOf(() => testPath('fixtures', 'models', 'gpt2'))).toBeUndefined();
  expect(await adaptedOf((own) => own, ['attacker.method=full'])).toBeUndefined();
});

it('a target that shares the attacker’s sessions is planned without a repacked copy of its own', async () => {
  const memoryOf = async (adapted: boolean): Promise<number> => {
    const config = tiny.config([LOCAL]);
    const { host, openDecoder } = openRunModels(config, tiny.io(), undefined);
    const attacker = await openDecoder(config.attacker.model, 'attacker');
    const { adapted: _shared, ...alone } = attacker;
    const planned = await planTarget(config.target, { ...host, openDecoder: async () => (adapted ? attacker : alone) });
    return planMemory(config, createPlanContext(config, 8, stages.get), attacker, planned).memoryBytes;
  };
  expect((await memoryOf(false)) - (await memoryOf(true))).toBe(await attackerBytes());
});

async function attackerBytes(): Promise<number> {
  const config = tiny.config();
  const { weights } = await openRunModels(config, tiny.io(), undefined).openDecoder(config.attacker.model, 'attacker');
  return [...weights.tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
}

it('memory: small plans no repacked copy, and sessions that decode are opened without one', async () => {
  const opened = async (memory: string) => {
    const config = tiny.config([LOCAL, `memory=${memory}`]);
    const { host, openDecoder } = openRunModels(config, tiny.io(), undefined);
    const attacker = await openDecoder(config.attacker.model, 'attacker');
    const planned = await planTarget(config.target, host);
    const plan = planMemory(config, createPlanContext(config, 8, stages.get), attacker, planned);
    return { bytes: plan.memoryBytes, prepack: planned.model?.compute.prepack };
  };
  const [fast, small] = [await opened('fast'), await opened('small')];
  expect(fast.bytes - small.bytes).toBe(await attackerBytes());
  expect([fast.prepack, small.prepack]).toEqual([true, false]);

  const { weights, config } = await openRunModels(tiny.config(), tiny.io(), undefined).openDecoder(
    tiny.config().attacker.model,
    'target',
  );
  const open = (prepack: boolean) => {
    const bans = { always: [], end: [] };
    const options = { config, weights, contextTokens: 32, bans, withLogProbs: false };
    return openGenerator(options, { device: 'cpu', threads: 1, prepack });
  };
  const repacked = await open(true);
  const before = openSessionCount();
  const again = await open(true);
  expect(openSessionCount()).toBe(before); // the same settings: the same sessions
  const lean = await open(false);
  expect(openSessionCount()).toBe(before + 2); // prefill never repacks; those that decode and draw are others
  for (const generator of [lean, again, repacked]) await generator.close();
});
