import { BASELINE_ARM, DRAWS_ARM, type Ground, OURS_ARM } from './ground.ts';
import { realModelConfig, realModelTargets } from './real-models.ts';

/** Models of two families and sizes, by the names of the catalogue. */
const MODELS = { smollm2: 'smollm2-135m-instruct', gemma: 'gemma3-270m' } as const;
type Family = keyof typeof MODELS;

/** The ground in which the model of one family attacks that of another. */
function acrossFamilies(name: string, attacker: Family, target: Family): Ground {
  const own = [`attacker.model=${MODELS[attacker]}`, `target.model=${MODELS[target]}`];
  const other: Family = target === 'gemma' ? 'smollm2' : 'gemma';
  const ground: Ground = {
    name,
    describe: `${MODELS[attacker]} attacks ${MODELS[target]}, the plain judge rewards`,
    kind: 'model',
    budgets: [2_000],
    seeds: 3,
    arms: { ours: OURS_ARM, baselines: BASELINE_ARM, draws: DRAWS_ARM },
    ownWeights: 'smoothing-uniform',
    config: (run) => realModelConfig({ ...run, attackers: run.attackers ?? ground.arms[run.arm] ?? [] }, own),
    targets: realModelTargets({ name: other, model: MODELS[other] }),
  };
  return ground;
}

/** SmolLM2 attacks Gemma 3 270M. */
export const smollm2OnGemma = acrossFamilies('smollm2-on-gemma', 'smollm2', 'gemma');

/** Gemma 3 270M attacks SmolLM2. */
export const gemmaOnSmollm2 = acrossFamilies('gemma-on-smollm2', 'gemma', 'smollm2');

/** Gemma 3 270M attacks itself; SmolLM2 attacks itself in a ground of its own. */
export const gemma = acrossFamilies('gemma', 'gemma', 'gemma');
