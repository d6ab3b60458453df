import { z } from 'zod';
import { FloodgateError } from '../base/errors.ts';
import { createBatchedJudge, defineJudgeKind, type Judge, toVerdict, unscored, type Verdict } from './judge.ts';
import { anyJudge } from './judge-kinds.ts';

export interface EnsembleMember {
  readonly judge: Judge;
  /** Above 0; only the ratio to the other weights matters. */
  readonly weight: number;
}

/** The verdict when a member could not score: `unscored`, or the mean of the members that could (`renormalise`). */
export type MissingMemberPolicy = 'unscored' | 'renormalise';

/**
 * The weighted mean of P(unsafe) over several judges. Members score one after the other, because they share the
 * processor. Closing it closes the members.
 * @throws FloodgateError `config` without a member, or for a weight that is not above 0.
 */
export function createEnsembleJudge(members: readonly EnsembleMember[], ifMissing: MissingMemberPolicy): Judge {
  if (members.length === 0) throw new FloodgateError('config', 'ensemble judge: got no members, expected at least one');
  for (const { judge, weight } of members) {
    if (!(weight > 0 && Number.isFinite(weight))) {
      throw new FloodgateError('config', `ensemble judge: weight of ${judge.name} is ${weight}, expected above 0`);
    }
  }
  const name = ensembleName(members.map(({ judge, weight }) => ({ name: judge.name, weight })));
  return createBatchedJudge({
    name,
    models: members.flatMap(({ judge }) => judge.models ?? []),
    scoreBatch: async (exchanges, options) => {
      const columns: Verdict[][] = [];
      for (const { judge } of members) columns.push(await judge.score(exchanges, options));
      return exchanges.map((_, row) =>
        combine(
          columns.map((column) => column[row]),
          members,
          ifMissing,
        ),
      );
    },
    release: async () => {
      const closings = await Promise.allSettled(members.map(({ judge }) => judge.close()));
      for (const closing of closings) if (closing.status === 'rejected') throw closing.reason;
    },
  });
}

const member = z.strictObject({ weight: z.number().positive().max(1e6).default(1), judge: anyJudge() });

export const ensemble = defineJudgeKind({
  name: 'ensemble',
  describe: 'the weighted mean of several judges',
  fields: {
    ifMissing: z
      .enum(['unscored', 'renormalise'])
      .default('unscored')
      .describe('when a member could not score: the whole cannot either, or the mean of the others'),
    members: z.array(member).min(1).max(100),
  },
  nameOf({ members }, nameOfPart) {
    const parts = members.map(({ judge, weight }) => ({ name: nameOfPart(judge), weight }));
    return parts.some(({ name }) => name === undefined) ? undefined : ensembleName(parts);
  },
  measures({ members }, measuresOfPart) {
    const [first, ...others] = members.map(({ judge }) => measuresOfPart(judge));
    return others.every((each) => each?.quality === first?.quality) ? first : undefined;
  },
  sees: ({ members }, seesOfPart) => [...new Set(members.flatMap(({ judge }) => seesOfPart(judge)))],
  async open({ members: configs, ifMissing }, host) {
    const members: EnsembleMember[] = [];
    try {
      for (const { judge, weight } of configs) members.push({ judge: await host.openJudge(judge), weight });
      return createEnsembleJudge(members, ifMissing);
    } catch (error) {
      await Promise.allSettled(members.map(({ judge }) => judge.close()));
      throw error;
    }
  },
});

function ensembleName(members: readonly { readonly name: string | undefined; readonly weight: number }[]): string {
  return `ensemble(${members.map(({ name, weight }) => `${name}*${weight}`).join(' + ')})`;
}

function combine(
  verdicts: readonly (Verdict | undefined)[],
  members: readonly EnsembleMember[],
  ifMissing: MissingMemberPolicy,
): Verdict {
  let sum = 0;
  let weights = 0;
  const reasons: string[] = [];
  for (const [i, { judge, weight }] of members.entries()) {
    const verdict = verdicts[i] ?? unscored(`${judge.name}: returned no verdict`);
    if (verdict.kind === 'unscored') {
      reasons.push(verdict.reason);
      continue;
    }
    sum += weight * verdict.unsafe;
    weights += weight;
  }
  if (reasons.length > 0 && (ifMissing === 'unscored' || weights === 0)) return unscored(reasons.join('; '));
  return toVerdict(sum / weights, 'ensemble');
}
