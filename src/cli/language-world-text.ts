import type { LanguageWorld } from '../worlds/language/language-world.ts';
import { alignColumns, type CommandResult } from './command-output.ts';

const percent = (value: number, digits = 2): string => `${(100 * value).toFixed(digits)}%`;

/** A language world as `floodgate world` shows it: its regions, their shares with errors, and how it was measured. */
export function describeLanguageWorld({ spec, keys, seeds, harmlessSeeds, truth }: LanguageWorld): CommandResult {
  const rows = keys.map(({ text, phrase, prior, leak, radius }, i) => {
    const part = truth.keys[i];
    const share = part === undefined ? '-' : `${percent(part.share)} ± ${percent(part.error)}`;
    return [
      text,
      phrase,
      radius.toFixed(3),
      prior.toExponential(1),
      leak.toFixed(2),
      String(truth.held[i] ?? 0),
      share,
    ];
  });
  const { baseRate, plain, effective, exactRecall, exactSuccess, falseAlarms } = truth;
  const text = [
    alignColumns([['region', 'centre', 'cosine', 'prior', 'leak', 'draws', 'share of the posterior'], ...rows]),
    '',
    `Language world ${spec.seed} of ${spec.attacker}: ${keys.length} regions in the space of ${spec.encoder}; ${seeds.length} seeds, ${seeds.length - harmlessSeeds.length} of them in a region or near one.`,
    `The reference succeeds at ${percent(baseRate.share, 3)} ± ${percent(baseRate.error, 3)}, asked for ${percent(spec.baseRate, 3)}; its plain samples succeeded ${plain.successes.toFixed(1)} times in ${plain.draws}.`,
    `An exact sampler would find ${percent(exactRecall)} of the regions in 1,024 attacks, ${percent(exactSuccess)} of which succeed. ${spec.samples} weighted draws are worth ${effective.toFixed(0)} independent ones.`,
    `Near misses carry ${percent(falseAlarms.share)} ± ${percent(falseAlarms.error)} of the posterior.`,
  ].join('\n');
  return { text, json: { spec, keys, seeds: seeds.length, truth } };
}
