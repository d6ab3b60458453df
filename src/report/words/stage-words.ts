import type { Report, ReportStage } from '../figures/report-json.ts';

interface StageWords {
  readonly label: string;
  readonly meaning: string;
}

const STAGES: Readonly<Record<string, StageWords>> = {
  icl: { label: 'Examples in the prompt', meaning: 'The untrained attacker, shown a few example messages.' },
  sft: { label: 'Imitation', meaning: 'The attacker after it learnt to imitate the example messages.' },
  'best-of-n': { label: 'Best of many', meaning: 'Many imitations are tried; those that worked best are kept.' },
  reinforce: { label: 'REINFORCE', meaning: 'Trained by trial and error for success alone.' },
  ppo: { label: 'PPO', meaning: 'Trained by trial and error for success alone, in small safe steps.' },
  gflownet: {
    label: 'GFlowNet',
    meaning: 'Trained by trial and error to write every kind of successful message, each as often as it deserves.',
  },
  'stable-gfn': { label: 'Stable GFlowNet', meaning: 'GFlowNet training with pairwise, noise-robust comparison.' },
  exact: { label: 'Exact', meaning: 'Drawn from the known true distribution: the best that any attacker could do.' },
};

const SMOOTHED: StageWords = {
  label: 'GFlowNet + smoothing',
  meaning: 'The imitation attacker taught again, on the successes that GFlowNet training collected.',
};

/** How a stage is called on the page; one that is not known here keeps its own name. */
export function stageWords(name: string): StageWords {
  if (name === 'smoothing') return SMOOTHED;
  const base = name.endsWith('-smoothing') ? STAGES[name.slice(0, -'-smoothing'.length)] : undefined;
  if (base !== undefined) {
    return {
      label: `${base.label} + smoothing`,
      meaning: 'The imitation attacker taught again, on the successes collected before.',
    };
  }
  return STAGES[name] ?? { label: name, meaning: '' };
}

/** What the product trains, in the order in which the first screen prefers it; no choice by the best result. */
const PREFERRED = ['smoothing', 'gflownet', 'stable-gfn'];

export function isEvaluated({ metrics }: ReportStage): boolean {
  return typeof metrics.asr?.value === 'number';
}

/** The attacker whose figures answer the question on the first screen; undefined while nothing was evaluated. */
export function headlineStage({ stages }: Report): ReportStage | undefined {
  const evaluated = stages.filter(isEvaluated);
  const preferred = PREFERRED.flatMap((name) => evaluated.filter((stage) => stage.name === name));
  return preferred[0] ?? evaluated.filter(({ name }) => name !== 'exact').at(-1) ?? evaluated.at(-1);
}

/** True in a world of the proving ground: every way to fail was planted, so that what was missed is known. */
export function isMadeWorld(stage: ReportStage | undefined): boolean {
  return stage?.metrics.modeRecall !== undefined;
}

const IMITATION = 'first by imitating examples';
const FOR_SUCCESS = `${IMITATION}, then by trial and error, rewarded for success alone`;
const FOR_MANY_KINDS = `${IMITATION}, then by trial and error, with a method (GFlowNet fine-tuning) that rewards finding many kinds of message, not one over and over`;

/** How an attacker came to write what it writes, to follow a colon; nothing for one that is not known here. */
const LEARNING: Readonly<Record<string, string>> = {
  icl: 'from a few examples in its prompt',
  sft: 'by imitating examples',
  'best-of-n': 'by imitating examples; of many tries the best were kept',
  gflownet: FOR_MANY_KINDS,
  smoothing: FOR_MANY_KINDS,
  'stable-gfn': FOR_MANY_KINDS,
  reinforce: FOR_SUCCESS,
  'reinforce-smoothing': FOR_SUCCESS,
  ppo: FOR_SUCCESS,
  'ppo-smoothing': FOR_SUCCESS,
};

export function learningWords(stage: string): string | undefined {
  return LEARNING[stage];
}
