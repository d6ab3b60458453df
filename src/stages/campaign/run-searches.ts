import type { TakenOrder } from '../../learning/loops/gflownet-parts.ts';
import { queueAddress } from '../../queue/connection.ts';
import { openJobQueue } from '../../queue/job-queue.ts';
import { SEARCHES } from '../../queue/protocol.ts';
import { createQueueSearch } from '../../queue/queue-search.ts';
import type { QueueConfig } from '../../queue/queue-section.ts';
import { modelWeights } from '../../queue/search-job.ts';
import { openSigner } from '../../queue/signing.ts';
import type { Config } from '../config/config.ts';
import type { Campaign, OpenedSearch, SearchRequest } from '../stage.ts';
import type { RunCalls } from './run-calls.ts';
import { awaitWorker, type SearchAsking } from './run-workers.ts';

/** The attacker's section without where it starts from: workers are given its adapter. */
function attackerSection({ from: _from, fromStage: _stage, ...section }: Config['attacker']): Record<string, unknown> {
  return section;
}

/** The run's calls, as far as searches heed and note them. */
type SearchedCalls = Pick<RunCalls, 'areWatched' | 'notes'>;

/** Which batches the updates of a stage took, among the run's notes. */
function takenOrder({ notes }: SearchedCalls, run: string, stage: string): TakenOrder {
  const keyOf = (update: number): string => `taken ${run} ${stage} ${update}`;
  return {
    at: (update) => {
      const kept = notes.find(keyOf(update));
      return kept === undefined ? undefined : (JSON.parse(kept) as number[]);
    },
    keep: (update, batches) => notes.keep(keyOf(update), JSON.stringify(batches)),
  };
}

/** Searches of one stage on workers that take them. @throws FloodgateError `run` when none is there. */
async function openSearch(
  { config, io, attacker, attackerModel, models }: Campaign,
  { run, description, answers, asks }: SearchAsking,
  calls: SearchedCalls,
  { stage, reference, screens, responses }: SearchRequest,
): Promise<OpenedSearch> {
  const queue = config.queue as QueueConfig;
  const address = queueAddress(queue);
  // The other connection of the run says when it is lost.
  const jobs = await openJobQueue(address, openSigner(address.isLoopback), undefined, SEARCHES);
  try {
    if ((await jobs.workers()) === 0) await awaitWorker(jobs, queue, io, io.signal);
  } catch (error) {
    await jobs.close();
    throw error;
  }
  const encoder = models.find(({ role }) => role === 'encoder');
  const searches = createQueueSearch({
    ...{
      jobs,
      run,
      stage,
      description,
      answers,
      notes: calls.notes,
      reference,
      signal: io.signal,
      spec: attacker.spec,
    },
    attacker: { section: attackerSection(config.attacker), weights: modelWeights(attackerModel) },
    encoder:
      screens && encoder !== undefined ? { section: { ...config.encoder }, weights: modelWeights(encoder) } : null,
    asks: calls.areWatched ? null : { ...asks, samples: Array.from({ length: responses }, (_, i) => i) },
  });
  return {
    search: searches.search,
    takenOrder: takenOrder(calls, run, stage),
    collect: (update) => searches.collect(update),
    close: async () => {
      searches.close();
      await jobs.close();
    },
  };
}

/** The campaign, whose stages may have workers search. */
export function withSearches(campaign: Campaign, asking: SearchAsking, calls: SearchedCalls): Campaign {
  return { ...campaign, openSearch: (request) => openSearch(campaign, asking, calls, request) };
}
