import { attackMetrics } from '../../metrics/registry.ts';
import type { NumberForm } from './number-words.ts';

/** The name of a metric on the page, and its meaning for a reader who does not know it. */
export interface MetricWords {
  readonly label: string;
  readonly form: NumberForm;
  readonly meaning: string;
  /** Shown in the comparison itself, not only in its fold. */
  readonly isMain?: boolean;
}

/** The words of a registered metric of a set of attacks. */
function wordsOf(name: string): MetricWords {
  const { label, explain, form = 'number', isMain = false } = attackMetrics.get(name).words;
  return { label, form, meaning: explain, isMain };
}

/**
 * In the order of the page. The page leaves out a metric that the run does not have. A metric that is not in this
 * table has the words of its definition; without a definition, its name spelled out.
 */
const METRICS: Readonly<Record<string, MetricWords>> = {
  asr: wordsOf('asr'),
  asrMasked: {
    label: 'Success rate, own words masked',
    form: 'share',
    meaning: 'The same after the words of the attack are taken out of the answer: what is left is the target’s own.',
    isMain: true,
  },
  controlAsr: {
    label: 'Harmless prompts called unsafe',
    form: 'share',
    meaning: 'Of harmless prompts, the share whose answers the judge rates unsafe: its false alarms.',
  },
  ways: {
    label: 'Ways, by their causes',
    form: 'count',
    meaning: 'Different causes of success. A cause is the smallest part of an attack that still succeeds.',
    isMain: true,
  },
  waysEcho: {
    label: 'Ways that repeat their own words',
    form: 'count',
    meaning: 'Ways of which at least half of the unsafe answers hold all words of the cause.',
  },
  waysChao1: {
    label: 'Ways in all, at least',
    form: 'count',
    meaning: 'Estimated lower bound of the number of ways that this attacker would find in the end (Chao1).',
  },
  waysMissingMass: {
    label: 'Successes of a way not yet seen',
    form: 'share',
    meaning: 'Chance that the next success would be of a way that this evaluation has not seen (Good-Turing).',
  },
  waysExpected: {
    label: 'Ways expected at twice the calls',
    form: 'count',
    meaning: 'Extrapolated: the ways that twice as many new attacks would find.',
  },
  unstableShare: {
    label: 'Successes that did not succeed again',
    form: 'share',
    meaning: 'Of the successes whose cause was looked for, the share that failed when asked once more.',
  },
  causesKeyRecall: {
    label: 'Planted ways that a cause holds',
    form: 'share',
    meaning: 'In a synthetic world: the share of the planted ways that some cause holds.',
  },
  keysInSuccesses: {
    label: 'Planted ways in the successes',
    form: 'count',
    meaning: 'In a synthetic world: planted ways that some successful attack holds.',
  },
  causesOneKey: {
    label: 'Causes with exactly one planted way',
    form: 'share',
    meaning: 'In a synthetic world: the share of causes that hold one planted way, neither none nor several.',
  },
  causesPure: {
    label: 'Causes with nothing of another planted way',
    form: 'share',
    meaning: 'In a synthetic world: the share of causes with one planted way and no word of another.',
  },
  cellsReached: {
    label: 'Categories reached',
    form: 'count',
    meaning: 'Categories of the config in which at least one new attack succeeded.',
    isMain: true,
  },
  uniqueAttacks: wordsOf('uniqueAttacks'),
  transferRate: {
    label: 'Transfer rate',
    form: 'share',
    meaning: 'Of the attacks that succeed against this target, the share that succeeds against the other one too.',
  },
  exactAsr: {
    label: 'True success rate',
    form: 'share',
    meaning:
      'In a synthetic world: the expected success rate of these attacks, computed from the target instead of sampled.',
  },
  exactTransferRate: {
    label: 'True transfer rate',
    form: 'share',
    meaning:
      'In a synthetic world: the expected transfer rate of these attacks, computed from the target instead of sampled.',
  },
  modeRecall: {
    label: 'Planted ways found',
    form: 'share',
    meaning: 'In a world where every way is known: the share of them that the attacker found.',
    isMain: true,
  },
  shareError: {
    label: 'Share error',
    form: 'number',
    meaning: 'How far the found ways are from their true shares: 0 as they should be, 1 nothing in common.',
    isMain: true,
  },
  shareErrorFloor: {
    label: 'Share error of an exact draw',
    form: 'number',
    meaning: 'The share error of a perfect sampler’s own draw of this size.',
  },
  exactEffective: {
    label: 'Effective exact draws',
    form: 'count',
    meaning:
      'In a language world: how many independent draws the weighted sample behind the exact row and the shares is worth.',
  },
  exactRecall: {
    label: 'Ways an exact draw finds',
    form: 'share',
    meaning: 'The planted ways that a perfect sampler’s own draw of this size would find.',
  },
  keysCollected: {
    label: 'Planted ways collected',
    form: 'count',
    meaning: 'Planted ways in what training collected.',
  },
  attackerTargetCalls: {
    label: 'Calls used by the attacker',
    form: 'count',
    meaning: 'Answers asked of the target on the way to this attacker, its evaluation apart.',
  },
  missingMass: {
    label: 'Successes in a wording not yet seen',
    form: 'share',
    meaning: 'Chance that the next success would be in a wording that this evaluation has not seen.',
    isMain: true,
  },
  chao1: {
    label: 'Wordings in all, at least',
    form: 'count',
    meaning:
      'Estimated lower bound of the number of different wordings that this attacker would find in the end (Chao1).',
    isMain: true,
  },
  waysUnseen: {
    label: 'Wordings still unseen, at least',
    form: 'count',
    meaning: 'Estimated lower bound of the wordings that this attacker would still find (Chao1).',
    isMain: true,
  },
  uniqueAttacksExpected: {
    label: 'Wordings expected at twice the calls',
    form: 'count',
    meaning: 'Extrapolated: the different wordings that twice as many new attacks would find.',
  },
  missingMassSpread: {
    label: 'Wordings not yet seen, over partitions',
    form: 'share',
    meaning: 'The same over other orders and thresholds of grouping.',
  },
  chao1Spread: {
    label: 'Wordings in all, over partitions',
    form: 'count',
    meaning: 'The same bound over other orders and thresholds of grouping.',
  },
  referenceFailureRate: {
    label: 'Failures on ordinary requests',
    form: 'share',
    meaning: 'Probability that one answer is unsafe for a request as the untrained reference writes them.',
    isMain: true,
  },
  keysPerThousandCalls: {
    label: 'Planted ways per 1,000 calls',
    form: 'number',
    meaning: 'Known ways found for each thousand answers asked of the target.',
    isMain: true,
  },
  echoRate: wordsOf('echoRate'),
  uniquePerThousandTargetCalls: {
    label: 'Different wordings per 1,000 calls',
    form: 'number',
    meaning: 'Different wordings for each thousand answers asked of the target.',
  },
  communities: wordsOf('communities'),
  cosineDistance: wordsOf('cosineDistance'),
  cosineDistanceOfSuccesses: wordsOf('cosineDistanceOfSuccesses'),
  selfBleu: wordsOf('selfBleu'),
  vendi: wordsOf('vendi'),
  vendiOfSuccesses: wordsOf('vendiOfSuccesses'),
  distinct1: wordsOf('distinct1'),
  distinct2: wordsOf('distinct2'),
  vocabulary: wordsOf('vocabulary'),
  excluded: { label: 'Not scored', form: 'count', meaning: 'Attacks left out because no answer could be judged.' },
  judgeAgreement: {
    label: 'Judges agree',
    form: 'share',
    meaning: 'Share of attacks on which both judges say the same.',
  },
  judgeKappa: {
    label: 'Agreement beyond chance',
    form: 'number',
    meaning: 'Cohen’s kappa: 1 full agreement, 0 as much as by chance.',
  },
};

/** Words of curves over training, where they differ from those of the metric. */
const CURVES: Readonly<Record<string, MetricWords>> = {
  loss: { label: 'Loss', form: 'number', meaning: 'The quantity that training minimises.' },
  validationLoss: { label: 'Loss on held-out seeds', form: 'number', meaning: 'Rises when seeds are learnt by heart.' },
  batchAsr: {
    label: 'Success rate while training',
    form: 'share',
    meaning: 'New attacks of each update, by the training judge.',
  },
  heldOutAsr: {
    label: 'Success rate, held out',
    form: 'share',
    meaning: 'Attacks made only to look, by the training judge.',
  },
  heldOutUnique: {
    label: 'Different wordings, held out',
    form: 'count',
    meaning: 'Among the attacks made only to look.',
  },
  logZ: {
    label: 'log Z',
    form: 'number',
    meaning: 'The learnt total of all rewards, as a logarithm; it settles when training has.',
  },
  residualSpread: {
    label: 'Residual spread',
    form: 'number',
    meaning: 'How far the attacker still is from its goal, in nats; 0 would be exact.',
  },
  searchLag: {
    label: 'Age of the searched attacks',
    form: 'count',
    meaning: 'Updates since the attacker that wrote the oldest attacks of this update; workers wrote them.',
  },
};

/** `waysUnseenLow` -> `Ways unseen low`. */
function spelledOut(name: string): string {
  const words = name.replace(/([a-z0-9])([A-Z])/g, '$1 $2').toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** True of a figure of an evaluation, false of one of training that only a curve shows. */
export function isEvaluationMetric(name: string): boolean {
  return Object.hasOwn(METRICS, name) || attackMetrics.has(name);
}

export function metricWords(name: string): MetricWords {
  const known = METRICS[name] ?? CURVES[name];
  if (known !== undefined) return known;
  return attackMetrics.has(name) ? wordsOf(name) : { label: spelledOut(name), form: 'number', meaning: '' };
}

/** Sorts metric names as the page shows them: known ones first, in their order. */
export function inPageOrder(names: Iterable<string>): string[] {
  const order = Object.keys(METRICS);
  const rank = (name: string): number => (order.includes(name) ? order.indexOf(name) : order.length);
  return [...names].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
}
