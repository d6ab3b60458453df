import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import type { RobustnessCell, TargetVersion } from '../robustness/robustness-file.ts';

export const ROUNDS_VERSION = 1;

/** One round: the attacker, trained from scratch against the target that the rounds before have tuned. */
export interface Round {
  /** Counted from 1; its run is the folder `round-N`. */
  readonly round: number;
  /** `nothing-found`: no attack succeeded, nothing could be tuned, and no further round was begun. */
  readonly status: 'done' | 'nothing-found';
  /** The attacker's own evaluation, by judge. */
  readonly judges: RobustnessCell['judges'];
  /** Clusters of its successes by the reported judge, and those that no earlier round had. */
  readonly clusters: number;
  readonly newClusters: number;
}

/** Attacks of one round put to the target of a round. */
export interface RoundCell {
  readonly attacks: number;
  /** Index into `targets`: 0 the untuned one, which round 1 attacked; k the one tuned after round k. */
  readonly target: number;
  /** True where the target learned to refuse exactly these attacks, in its last tuning or an earlier one. */
  readonly isLearned: boolean;
  readonly judges: RobustnessCell['judges'];
}

/** `rounds.json`. */
export interface Rounds {
  readonly roundsVersion: typeof ROUNDS_VERSION;
  readonly status: 'running' | 'done';
  readonly attacker: string;
  /** Of the config of every round, but for the model of its target (`askedSha256`). */
  readonly configSha256: string;
  readonly reportedJudge: string | null;
  readonly rounds: readonly Round[];
  readonly targets: readonly TargetVersion[];
  readonly cells: readonly RoundCell[];
}

function fileOf(folder: string): string {
  return join(folder, 'rounds.json');
}

/** The rounds of an earlier start; undefined when there are none. @throws FloodgateError `run` when it is damaged. */
export async function readRounds(folder: string): Promise<Rounds | undefined> {
  try {
    return JSON.parse(await readFile(fileOf(folder), 'utf8')) as Rounds;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new FloodgateError('run', `read ${fileOf(folder)}: it is damaged`, {
      cause,
      hint: 'remove it: the rounds themselves are stored beside it, and are not made again',
    });
  }
}

/** @throws FloodgateError `store` when the disk refuses. */
export async function writeRounds(folder: string, rounds: Rounds): Promise<void> {
  await writeFileAtomically(fileOf(folder), (file) => file.writeFile(`${JSON.stringify(rounds, null, 1)}\n`));
}
