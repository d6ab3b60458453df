import { gflownetStage, MANY_KINDS } from './gflownet.ts';
import { gflownetSection } from './gflownet-section.ts';

/** Stable-GFN: the GFlowNet's settings with a contrastive objective behind a fluency gate. */
export const stableGfn = gflownetStage(
  {
    name: 'stable-gfn',
    words: {
      lead: 3,
      label: 'Stable GFlowNet',
      explain: 'GFlowNet training with pairwise, noise-robust comparison.',
      learning: MANY_KINDS,
    },
  },
  (config) => {
    const { logZLearningRate: _unused, ...section } = gflownetSection.of(config);
    const { reward } = config;
    return {
      config: { ...config, reward: { ...reward, fluency: { ...reward.fluency, form: 'min-k-gate' } } },
      section: { ...section, objective: 'ctb' } as ReturnType<typeof gflownetSection.of>,
    };
  },
);
