import { afterAll, beforeAll, expect, it } from 'vitest';
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
  const { weights } = await openRunModels(tiny.config(), tiny.io(), undefined).openDecoder(
    tiny.config().attacker.model,
    'attacker',
  );
  const bytes = [...weights.tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
  expect((await memoryOf(false)) - (await memoryOf(true))).toBe(bytes);
});
