import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomically } from '../../src/base/atomic-file.ts';
import type { CampaignIo } from '../../src/stages/stage.ts';
import { writePlots } from './claims-plot.ts';
import { type DecidedClaim, decideClaims } from './decide.ts';
import { type DecidedGoal, decideGoals } from './goals.ts';
import { ARMS, type ArmName, type Ground } from './grounds/ground.ts';
import { groundNamed } from './grounds/registry.ts';
import { finishPart, groundFolder, partsOf } from './measure-part.ts';
import { type GroundResults, gatherParts, type PartName } from './part-file.ts';
import { claimsMarkdown } from './tables.ts';

/** The parts of a seed's measurement in their order: `attackers` are all arms. */
export const CLAIM_PARTS = ['attackers', 'transfer', 'retrained', 'tuned'] as const;
export type ClaimPart = (typeof CLAIM_PARTS)[number];

export interface ClaimsPlan {
  readonly grounds: readonly Ground[];
  /** Those of each ground when absent. */
  readonly budgets?: readonly number[];
  /** Number of seeds; that of each ground when absent. */
  readonly seeds?: number;
  readonly firstSeed: number;
  readonly arms: readonly ArmName[];
  /** The last part that is measured, after all before it. */
  readonly until: ClaimPart;
  readonly threads: number;
  readonly again: boolean;
  readonly runsDir: string;
}

/** The results of one ground at one budget, decided. */
export interface ClaimsOutcome {
  readonly results: GroundResults;
  readonly goals: readonly DecidedGoal[];
  readonly claims: readonly DecidedClaim[];
}

interface Step {
  readonly ground: Ground;
  readonly budget: number;
  readonly part: PartName;
  readonly seed: number;
}

/** Every step, cheap parts first: all arms of each seed, seed by seed, then each further part of every seed. */
function stepsOf(plan: ClaimsPlan): Step[] {
  const parts: readonly ClaimPart[] = CLAIM_PARTS.slice(0, CLAIM_PARTS.indexOf(plan.until) + 1);
  return plan.grounds.flatMap((ground) => {
    const seeds = Array.from({ length: plan.seeds ?? ground.seeds }, (_, i) => plan.firstSeed + i);
    const budgets = ground.budgets.filter((budget) => plan.budgets?.includes(budget) ?? true);
    return parts.flatMap((part) =>
      budgets.flatMap((budget) =>
        seeds.flatMap((seed) => {
          const each = part === 'attackers' ? ARMS.filter((arm) => plan.arms.includes(arm)) : [part];
          return partsOf(ground, each).map((own) => ({ ground, budget, part: own, seed }));
        }),
      ),
    );
  });
}

/**
 * Measures the claims of docs/claims.md on each ground at each budget. Every part of a seed keeps its figures in a file
 * of its own beside its run, so a stopped measurement resumes, and two processes can share the seeds.
 *
 * @throws FloodgateError as the runs do; `interrupted` on abort, nothing lost.
 */
export async function runClaims(plan: ClaimsPlan, io: CampaignIo): Promise<ClaimsOutcome[]> {
  const steps = stepsOf(plan);
  const bar = io.progress.start('claims', steps.length, 'parts');
  for (const [done, { ground, budget, part, seed }] of steps.entries()) {
    const folder = groundFolder(plan.runsDir, ground.name, budget);
    await mkdir(folder, { recursive: true });
    const { threads, again } = plan;
    await finishPart(part, { ground, budget, seed, threads, folder, again }, io);
    bar.update(done + 1, `${ground.name} ${budget}: ${part} of seed ${seed}`);
  }
  bar.finish();
  const places = [...new Set(steps.map(({ ground, budget }) => groundFolder(plan.runsDir, ground.name, budget)))];
  return Promise.all(places.map((folder) => decideFromFolders([folder])));
}

/** Decides from parts that were measured before. @throws FloodgateError as {@link gatherParts}. */
export async function decideFromFolders(folders: readonly string[]): Promise<ClaimsOutcome> {
  return decide(await gatherParts(folders));
}

export function decide(results: GroundResults): ClaimsOutcome {
  const isWorld = groundNamed(results.ground).kind === 'world';
  return { results, goals: decideGoals(results), claims: decideClaims(results.seeds, isWorld) };
}

/** Name of the files of one ground at one budget, and of its marks in docs/results.md. */
export const resultsName = ({ ground, budget }: GroundResults): string => `${ground}-${budget}`;

/** Writes the summary, the tables and the plots of each outcome. Returns their paths. */
export async function writeOutcomes(folder: string, outcomes: readonly ClaimsOutcome[]): Promise<string[]> {
  await mkdir(folder, { recursive: true });
  const written: string[] = [];
  for (const { results } of outcomes) {
    const name = resultsName(results);
    const texts = { json: `${JSON.stringify(results)}\n`, md: `${claimsMarkdown(results)}\n` };
    for (const [ending, text] of Object.entries(texts)) {
      const path = join(folder, `${name}.${ending}`);
      await writeFileAtomically(path, (handle) => handle.writeFile(text));
      written.push(path);
    }
    written.push(...(await writePlots(folder, name, results)));
  }
  return written;
}
