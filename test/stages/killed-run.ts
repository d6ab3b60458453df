import { existsSync } from 'node:fs';
import path from 'node:path';
import type { RandomStream } from '../../src/base/random.ts';
import {
  type CampaignPlace,
  type CampaignProcess,
  type ProcessOptions,
  resumeProcess,
  startRunProcess,
} from './campaign-process.ts';

/** A part of a run as its progress shows it, and how long it took when nothing was killed. */
export interface Section {
  readonly label: string;
  readonly ms: number;
}

/** Before the first progress line: opening, locking, loading models. */
export const BEFORE_ANY = 'opening';

/** One `kill -9`: where the run was last seen when it fell. */
export interface Kill {
  readonly section: string;
  readonly afterMs: number;
}

/** The sections of a process that has ended, each lasting until the next began. */
export function sectionsOf({ sections }: CampaignProcess, endedMs: number): Section[] {
  const starts = [{ label: BEFORE_ANY, ms: 0 }, ...sections];
  return starts.map(({ label, ms }, i) => ({ label, ms: (starts[i + 1]?.ms ?? endedMs) - ms }));
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Ends when the process shows the section or a later one, or is over. */
async function reached(run: CampaignProcess, section: number, order: readonly string[]): Promise<void> {
  const isThere = (): boolean => section === 0 || run.sections.some(({ label }) => order.indexOf(label) >= section);
  while (!isThere() && run.child.exitCode === null) await Promise.race([sleep(2), run.outcome]);
}

/** Kills the process somewhere inside the section; undefined when it was over before. */
async function killInside(
  run: CampaignProcess,
  target: number,
  sections: readonly Section[],
  stream: RandomStream,
): Promise<Kill | undefined> {
  const order = sections.map(({ label }) => label);
  const delayMs = stream.nextFloat() * (sections[target]?.ms ?? 0);
  await reached(run, target, order);
  await Promise.race([sleep(delayMs), run.outcome]);
  run.kill('SIGKILL');
  const { signal, code, stderr } = await run.outcome;
  if (signal === 'SIGKILL') {
    return { section: run.sections.at(-1)?.label ?? BEFORE_ANY, afterMs: performance.now() - run.startedMs };
  }
  if (code !== 0) throw new Error(`a run that was to be killed failed by itself: ${stderr}`);
  return undefined;
}

export interface KillOptions {
  /** Sections of the uninterrupted run, in order. */
  readonly sections: readonly Section[];
  readonly kills: number;
  readonly stream: RandomStream;
  /** Sections to kill in, ascending; drawn from the stream when absent. */
  readonly targets?: readonly number[];
}

/**
 * Starts the work, kills it at random moments of randomly drawn sections, continues it each time, and lets the last
 * process finish. Returns the kills that found a process alive, in order.
 *
 * @param goOn starts the work or continues it, as its folder is.
 */
export async function killAndContinue(
  goOn: (processNumber: number) => CampaignProcess,
  { sections, stream, kills: wanted, targets: given }: KillOptions,
): Promise<Kill[]> {
  const draw = (): number => Math.floor(stream.nextFloat() * sections.length);
  const targets = given ?? Array.from({ length: wanted }, draw).sort((a, b) => a - b);
  const kills: Kill[] = [];
  for (const [number, target] of targets.entries()) {
    const kill = await killInside(goOn(number), target, sections, stream);
    if (kill === undefined) break;
    kills.push(kill);
  }
  const { code, stderr } = await goOn(targets.length).outcome;
  if (code !== 0) throw new Error(`after ${kills.length} kills the last process ended with ${code}: ${stderr}`);
  return kills;
}

export interface KilledRunOptions extends KillOptions {
  /** Options of every process, e.g. another clock for each. */
  readonly optionsOf?: (processNumber: number) => ProcessOptions;
}

/** `killAndContinue` of a run: the first process starts it, every later one resumes it. */
export function runWithKills(place: CampaignPlace, name: string, options: KilledRunOptions): Promise<Kill[]> {
  const optionsOf = options.optionsOf ?? (() => ({}));
  // A run killed before its folder was there never began: it is started, not resumed.
  const goOn = (number: number): CampaignProcess =>
    existsSync(path.join(place.runsFolder, name))
      ? resumeProcess(place, name, optionsOf(number))
      : startRunProcess(place, name, optionsOf(number));
  return killAndContinue(goOn, options);
}
