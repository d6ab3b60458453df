import { expect } from 'vitest';
import { FloodgateError } from '../../src/base/errors.ts';
import { resumeCampaign, runCampaign } from '../../src/report/campaigns.ts';
import { openRunFolder } from '../../src/runs/run-folder.ts';
import type { Config } from '../../src/stages/config/config.ts';
import { defineTarget } from '../../src/targets/registry.ts';
import { createScriptedTarget } from '../../src/targets/scripted-target.ts';
import type { Target } from '../../src/targets/target.ts';
import { NO_MODEL_FACTS } from '../../src/targets/target-kind.ts';
import { contentDifferences, readRunContent } from './run-content.ts';
import { createTinyCampaign, type TinyCampaign } from './tiny-campaign.ts';

type CampaignRun = ReturnType<typeof runCampaign>;

/** Where Ctrl-C comes: while the target is asked for a random stream whose name matches, once. */
interface Stop {
  readonly at: RegExp;
  readonly controller: AbortController;
}

/** A tiny campaign in this process, against a scripted target that Ctrl-C may interrupt. */
export interface StoppedCampaign {
  readonly tiny: TinyCampaign;
  config(changes?: readonly string[]): Config;
  start(name: string, changes?: readonly string[]): CampaignRun;
  /** The uninterrupted run, its batches asked so far ahead. It is made once. */
  wholeRun(depth?: number): CampaignRun;
  /** Stops another run like it at a random stream, and resumes it. Returns how it differs then, a line each. */
  differencesOfResumed(name: string, at: RegExp, depth: number): Promise<string[]>;
}

export interface StoppedCampaignOptions {
  /** An attack that contains one of them is answered unsafely, two times of three. */
  readonly unsafeLetters: readonly string[];
  /** Of the config, but for its target. */
  readonly overrides: readonly string[];
  /** Told of each request that the target answers. */
  readonly onAsk?: (...asked: Parameters<Target['ask']>) => void;
}

const KIND = 'fickle-script';

/** @returns sets where the target is interrupted next; undefined once it was. */
function defineFickleTarget({ unsafeLetters, onAsk }: StoppedCampaignOptions): { stop: Stop | undefined } {
  const next: { stop: Stop | undefined } = { stop: undefined };
  const respond = ['alarm bell', 'alarm bell', 'fine thanks'];
  const rules = unsafeLetters.map((contains) => ({ contains, respond }));
  defineTarget({
    name: KIND,
    describe: 'for this test',
    fields: {},
    async plan({ kind }, { seed }) {
      const scripted = createScriptedTarget({ rules, otherwise: ['not today'], seed });
      const facts = { ...NO_MODEL_FACTS, kind, model: 'script' };
      const target: typeof scripted = {
        ...scripted,
        ask: async (requests, options) => {
          const { stop } = next;
          if (stop !== undefined && requests.some(({ streamName }) => stop.at.test(streamName.join(' ')))) {
            next.stop = undefined;
            stop.controller.abort();
            throw new FloodgateError('interrupted', `${KIND}: interrupted`);
          }
          onAsk?.(requests, options);
          return scripted.ask(requests, options);
        },
      };
      return { facts, open: async () => ({ target, facts, checkpoint: undefined, close: () => target.close() }) };
    },
  });
  return next;
}

/** Once in a test file. Its caller removes `tiny`. */
export async function createStoppedCampaign(options: StoppedCampaignOptions): Promise<StoppedCampaign> {
  const next = defineFickleTarget(options);
  const tiny = await createTinyCampaign();
  const { runsFolder } = tiny;
  const whole = new Map<number, CampaignRun>();
  const target = `target={kind: ${KIND}, responses: 2}`;
  const config = (changes: readonly string[] = []) => tiny.config([target, ...options.overrides, ...changes]);
  const start = (name: string, changes?: readonly string[], signal?: AbortSignal): CampaignRun =>
    runCampaign({ config: config(changes), runsFolder, name, ifTaken: 'refuse' }, tiny.io(signal));
  const wholeRun = (depth = 0): CampaignRun => {
    const run = whole.get(depth) ?? start(`whole-${depth}`, [`gflownet.pipeline.depth=${depth}`]);
    whole.set(depth, run);
    return run;
  };
  return {
    tiny,
    config,
    start: (name, changes) => start(name, changes),
    wholeRun,
    differencesOfResumed: async (name, at, depth) => {
      const { folder: uninterrupted } = await wholeRun(depth);
      const controller = new AbortController();
      next.stop = { at, controller };
      const stopped = start(name, [`gflownet.pipeline.depth=${depth}`], controller.signal);
      await expect(stopped).rejects.toMatchObject({ code: 'interrupted' });
      expect(next.stop, 'Ctrl-C came').toBeUndefined();
      const folder = await openRunFolder(name, runsFolder);
      await resumeCampaign(folder, tiny.io());
      return contentDifferences(readRunContent(uninterrupted.path), readRunContent(folder.path));
    },
  };
}
