import path from 'node:path';
import { builtProgram } from '../support/compiled-source.ts';
import { type CampaignPlace, startRunProcess } from './campaign-process.ts';
import { type Section, sectionsOf } from './killed-run.ts';
import { contentDifferences, type RunContent, readRunContent } from './run-content.ts';
import { createTinyCampaign, placeOfTiny, type TinyCampaign } from './tiny-campaign.ts';

/** A run that nothing interrupted, made by a real process, to compare stopped runs with. */
export interface WholeRun {
  readonly place: CampaignPlace;
  readonly sections: readonly Section[];
  readonly content: RunContent;
  pathOf(name: string): string;
  /** How a run differs from this one, a line each. */
  differences(name: string): string[];
}

export interface TinyWholeRun extends WholeRun {
  readonly tiny: TinyCampaign;
  remove(): Promise<void>;
}

/** Makes the run `whole` in `place`. */
export async function createWholeRun(place: CampaignPlace): Promise<WholeRun> {
  const pathOf = (name: string): string => path.join(place.runsFolder, name);
  const run = startRunProcess(place, 'whole');
  const { code, stderr } = await run.outcome;
  if (code !== 0) throw new Error(`the uninterrupted run ended with ${code}: ${stderr}`);
  const content = readRunContent(pathOf('whole'));
  return {
    place,
    sections: sectionsOf(run, performance.now() - run.startedMs),
    content,
    pathOf,
    differences: (name) => contentDifferences(content, readRunContent(pathOf(name))),
  };
}

/** The same of the tiny campaign, with the command line that runs it. */
export async function createTinyWholeRun(overrides: readonly string[] = []): Promise<TinyWholeRun> {
  const tiny = await createTinyCampaign();
  const place = placeOfTiny(tiny, builtProgram());
  const whole = await createWholeRun({ ...place, overrides: [...place.overrides, ...overrides] });
  return { ...whole, tiny, remove: () => tiny.remove() };
}
