import { silentProgress } from '../../src/base/progress.ts';
import type { AskedDescription } from '../../src/queue/protocol.ts';
import { parseConfig } from '../../src/stages/campaign/config-load.ts';
import { openRunWorkers, type RunWorkers } from '../../src/stages/campaign/run-workers.ts';
import type { Config } from '../../src/stages/config/config.ts';
import type { CampaignIo } from '../../src/stages/stage.ts';
import { runWorker, type WorkerOptions } from '../../src/workers/worker.ts';

/** A worker in this process. */
export interface LocalWorker {
  /** Its lines for a person. */
  readonly lines: readonly string[];
  stop(): ReturnType<typeof runWorker>;
}

export async function startLocalWorker(
  url: string,
  options: Partial<Omit<WorkerOptions, 'queue' | 'signal'>> = {},
): Promise<LocalWorker> {
  const controller = new AbortController();
  const lines: string[] = [];
  let running: ReturnType<typeof runWorker> | undefined;
  await new Promise<void>((resolve, reject) => {
    const said = (line: string): void => void lines.push(line);
    running = runWorker({ ...options, queue: { url }, signal: controller.signal, said }, () => resolve());
    running.catch(reject);
  });
  return {
    lines,
    stop: () => {
      controller.abort();
      return running as ReturnType<typeof runWorker>;
    },
  };
}

/** A whole config around a target and a judge. */
export function queueConfig(url: string, target: object, judge: object = DEFAULT_JUDGE, more = ''): Config {
  const text = `
authorisation: a test
attacker: { model: none }
seeds: { path: none.txt }
target: ${JSON.stringify({ responses: 1, ...target })}
judges: { training: ${JSON.stringify(judge)}, evaluation: [{ kind: lexicon, name: bells, rules: [{ terms: [bell], weight: 0.9 }] }] }
queue: { url: '${url}', waitSeconds: 5 }
${more}`;
  return parseConfig(text, { fileName: 'queue.yaml', folder: '/' });
}

/** The target and the training judge of a config, as jobs describe them. */
export const describedParts = ({ target, judges }: Pick<Config, 'target' | 'judges'>): AskedDescription => ({
  seed: 0,
  threads: 1,
  target: { ...target },
  judges: [{ ...judges.training }],
  world: null,
  texts: [],
});

export const DEFAULT_JUDGE = { kind: 'lexicon', rules: [{ terms: ['alarm'], weight: 0.95 }] };

export function openWorkersOf(config: Config, io: Partial<CampaignIo> = {}): Promise<RunWorkers> {
  const own = { progress: silentProgress, signal: new AbortController().signal, ...io };
  return openRunWorkers(config, own) as Promise<RunWorkers>;
}
