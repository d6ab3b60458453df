import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import { canonicalJson } from '../../base/canonical-json.ts';
import { FloodgateError } from '../../base/errors.ts';
import type { Judge } from '../../judges/judge.ts';
import { ComeAnswers } from '../../queue/come-answers.ts';
import { queueAddress } from '../../queue/connection.ts';
import { openJobQueue } from '../../queue/job-queue.ts';
import type { JobQueue } from '../../queue/pending-job.ts';
import {
  type AskedDescription,
  type AskJob,
  identityOf,
  judgeWeights,
  type OpenedResult,
  PROTOCOL,
  type TargetPart,
} from '../../queue/protocol.ts';
import { ComeVerdicts, createQueueJudge } from '../../queue/queue-judge.ts';
import type { QueueConfig } from '../../queue/queue-section.ts';
import { createQueueTarget } from '../../queue/queue-target.ts';
import { openSigner } from '../../queue/signing.ts';
import type { OpenTarget, PlannedTarget, TargetFacts } from '../../targets/target-kind.ts';
import type { Config, JudgeConfig } from '../config/config.ts';
import type { CampaignIo } from '../stage.ts';

/** How the searches of a run ask what they have drawn. */
export interface SearchAsking {
  /** Name of the run in the queue. */
  readonly run: string;
  readonly description: AskedDescription;
  readonly answers: ComeAnswers;
  readonly asks: Pick<AskJob, 'part' | 'weights' | 'decode' | 'judges'>;
}

/** The target and the judges of a run whose config has a queue: workers open them, and this process none. */
export interface RunWorkers {
  readonly planned: PlannedTarget;
  /** One of the run's judges. Close it when done. */
  openJudge(config: JudgeConfig): Promise<Judge>;
  readonly searching: SearchAsking;
  close(): Promise<void>;
}

type AskedConfig = Pick<Config, 'seed' | 'threads' | 'target' | 'judges' | 'world'>;

/** Attacks on which int8 is compared with fp32: more than are compared. */
const COMPARED_TEXTS = 8;

/** All that decides how target and judges answer. It goes with every job. */
function describe({ seed, threads, target, judges, world }: AskedConfig, seeds: readonly string[]): AskedDescription {
  const { precision } = target;
  if (precision === 'auto')
    throw new FloodgateError('config', 'target.precision: got auto with a queue, whose workers may differ', {
      hint: 'set target.precision: int8 or fp32',
    });
  return {
    seed,
    threads: threads ?? null,
    target: { ...target },
    judges: [judges.training, ...judges.evaluation].map((judge) => ({ ...judge })),
    world: world === undefined ? null : { ...world },
    texts: precision === 'int8' ? seeds.slice(0, COMPARED_TEXTS) : [],
  };
}

/** The folder's file that names its run in the queue. */
const QUEUE_ID_FILE = 'queue-id';

/** The same for every process that works on the run, so that a resumed one finds the results of its jobs. */
export async function queueIdOf(folder: string, file: string = QUEUE_ID_FILE): Promise<string> {
  const path = join(folder, file);
  if (existsSync(path)) return (await readFile(path, 'utf8')).trim().slice(0, 100);
  const id = randomUUID();
  await writeFileAtomically(path, (handle) => handle.writeFile(`${id}\n`));
  return id;
}

/** How often it is looked whether a worker is there. */
const LOOK_MS = 1000;

/** Says that no worker is there. @throws FloodgateError `run` after `waitSeconds` without one. */
export async function awaitWorker(
  jobs: Pick<JobQueue, 'workers'>,
  { url, waitSeconds }: QueueConfig,
  io: CampaignIo,
  signal: AbortSignal,
): Promise<void> {
  const hint = `start one on any machine: floodgate worker --queue ${url}`;
  for (let waited = 0; !signal.aborted; waited += LOOK_MS) {
    await wait(LOOK_MS, undefined, { signal }).catch(() => undefined);
    if (signal.aborted || (await jobs.workers().catch(() => 1)) > 0) return;
    if (waited === 0) io.progress.say?.(`no worker takes jobs of ${url} yet; ${hint}`);
    if (waited >= 1000 * waitSeconds)
      throw new FloodgateError('run', `queue: no worker took a job within ${waitSeconds} s at ${url}`, { hint });
  }
}

async function openParts(
  jobs: JobQueue,
  job: { readonly run: string; readonly description: AskedDescription },
  queue: QueueConfig,
  io: CampaignIo,
): Promise<OpenedResult> {
  const done = new AbortController();
  const signal = AbortSignal.any([io.signal, done.signal]);
  const opened = jobs.submit({ kind: 'open', version: PROTOCOL, ...job }, signal);
  opened.catch(() => undefined);
  try {
    await Promise.race([opened, awaitWorker(jobs, queue, io, signal)]);
    const { outcome, release } = await opened;
    if (outcome.kind !== 'opened' || outcome.judges.length !== job.description.judges.length)
      throw new FloodgateError('run', 'queue: a worker answered another job than that of opening');
    release(); // a resume opens again: the models of the workers may have changed
    return outcome;
  } catch (error) {
    if (io.signal.aborted) throw new FloodgateError('interrupted', 'open models: interrupted, nothing was started');
    throw error;
  } finally {
    done.abort();
  }
}

/** Judges whose verdicts come with the answers: the one that rewards, where its verdicts cost nothing. */
function judgesAlong({ judges: [training] }: OpenedResult): AskJob['judges'] {
  return training?.isFree === true ? [{ judge: 0, weights: judgeWeights(training) }] : [];
}

interface AskingParts {
  readonly jobs: JobQueue;
  readonly run: string;
  readonly description: AskedDescription;
  readonly verdicts: ComeVerdicts;
  readonly answers: ComeAnswers;
  readonly jobsAtOnce: number;
}

function plannedOf(asking: AskingParts, opened: OpenedResult, judges: AskJob['judges']): PlannedTarget {
  const planPart = (part: TargetPart): PlannedTarget => {
    const { facts: found, hosts, model } = opened.targets[part];
    const facts = found as unknown as TargetFacts; // our own type, checked as far as it is read
    const open = async (): Promise<OpenTarget> => {
      const target = createQueueTarget({ ...asking, part, opened: opened.targets[part], judges });
      return {
        target,
        facts,
        ...(hosts === null ? {} : { hosts }),
        ...(model === null ? {} : { model: identityOf(model) }),
        checkpoint: undefined,
        close: () => target.close(),
      };
    };
    return { facts, hosts: hosts ?? [], open };
  };
  return isOneTarget(opened)
    ? planPart('evaluation')
    : { ...planPart('training'), evaluatedAs: planPart('evaluation') };
}

/** Whether training and evaluations ask one target. */
function isOneTarget({ targets: { training, evaluation } }: OpenedResult): boolean {
  return canonicalJson(training) === canonicalJson(evaluation);
}

export interface RunWorkersOptions {
  /** Of the run; absent where none is kept, as for a plan. */
  readonly folder?: string;
  readonly seeds?: readonly string[];
  /** False: verdicts are asked for apart, and none comes with the answers. */
  readonly verdictsCome?: boolean;
}

/**
 * Has the target and the judges of a config opened by a worker; undefined for a config without a queue.
 * @throws FloodgateError `run` when Redis or a worker is not there; that of the worker where it cannot open them.
 */
export async function openRunWorkers(
  config: Config,
  io: CampaignIo,
  { folder, seeds = [], verdictsCome = true }: RunWorkersOptions = {},
): Promise<RunWorkers | undefined> {
  const { queue, judges } = config;
  if (queue === undefined) return undefined;
  const address = queueAddress(queue);
  const jobs = await openJobQueue(address, openSigner(address.isLoopback), (line) => io.progress.say?.(line));
  try {
    const known = folder === undefined ? randomUUID() : await queueIdOf(folder);
    // A call that is made again belongs to another run: no earlier result is found.
    const run = io.asksAgain === true ? `${known} ${randomUUID()}` : known;
    const description = describe(config, seeds);
    const opened = await openParts(jobs, { run, description }, queue, io);
    const verdicts = new ComeVerdicts();
    const asking = { jobs, run, description, verdicts, answers: new ComeAnswers(), jobsAtOnce: queue.jobsAtOnce };
    const names = [judges.training, ...judges.evaluation].map(canonicalJson);
    const along = verdictsCome ? judgesAlong(opened) : [];
    const { training } = opened.targets;
    const part: TargetPart = isOneTarget(opened) ? 'evaluation' : 'training';
    const asks = { part, weights: training.facts.sha256, decode: config.target.decode, judges: along };
    return {
      planned: plannedOf(asking, opened, along),
      searching: { ...asking, asks },
      openJudge: async (judge) => {
        const place = names.indexOf(canonicalJson(judge));
        const found = opened.judges[place];
        if (found === undefined)
          throw new FloodgateError('judge', `open judge ${judge.kind}: the run has none like it`);
        return createQueueJudge({ ...asking, judge: place, opened: found });
      },
      close: () => jobs.close(),
    };
  } catch (error) {
    await jobs.close();
    throw error;
  }
}
