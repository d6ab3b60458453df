import { afterAll, beforeAll, expect, it } from 'vitest';
import { loraParameters } from '../../src/models/decoder/lora.ts';
import { planMemory } from '../../src/stages/campaign/plan-memory.ts';
import { openRunModels } from '../../src/stages/campaign/run-models.ts';
import { stages, stagesToTrain } from '../../src/stages/registry.ts';
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

it('an adapter’s step is planned with a quarter of the matrices of logits that a step of every weight has', async () => {
  const planned = async (overrides: string[]) => {
    const config = tiny.config([LOCAL, ...overrides]);
    const { host, openDecoder } = openRunModels(config, tiny.io(), undefined);
    const { adapted: _shared, ...attacker } = await openDecoder(config.attacker.model, 'attacker');
    const target = await planTarget(config.target, { ...host, openDecoder: async () => attacker });
    const context = createPlanContext(config, 8, stages.get);
    const { maxTokens, lora } = config.attacker;
    const rows = Math.max(
      ...stagesToTrain(config.attackers).map((stage) => stage.plan?.(config, context).passRows ?? 0),
    );
    const adapter = loraParameters(attacker.config, lora).flatMap(({ shape }) => shape.reduce((a, b) => a * b, 1));
    return {
      bytes: planMemory(config, context, attacker, target).memoryBytes,
      logits: 4 * maxTokens * rows * attacker.config.vocabSize,
      adapter: adapter.reduce((a, b) => a + b, 0),
      weights: [...attacker.weights.tensors.values()].reduce((sum, { byteLength }) => sum + byteLength / 4, 0),
    };
  };
  const [lora, full] = [await planned([]), await planned(['attacker.method=full'])];
  expect(lora.logits).toBeGreaterThan(0);
  expect(full.bytes - lora.bytes).toBe(28 * (full.weights - lora.adapter) + (3 - 3 / 4) * lora.logits);
});
