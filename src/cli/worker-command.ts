import { type Command, InvalidArgumentError, Option } from 'commander';
import { FloodgateError } from '../base/errors.ts';
import { QUEUES, type QueueName } from '../queue/protocol.ts';
import { queueUrlProblem } from '../queue/queue-section.ts';
import { MEMORIES, type Memory } from '../stages/config/config.ts';
import type { WorkerOptions } from '../workers/worker.ts';
import { printResult } from './command-output.ts';
import { COMMAND_WORDS } from './command-words.ts';
import { type CliContext, ioOf } from './context.ts';
import { parsePositiveCount } from './options.ts';

interface WorkerCommandOptions {
  readonly queue: string;
  readonly prefix?: string;
  readonly ca?: string;
  readonly take?: readonly QueueName[];
  readonly concurrency?: number;
  readonly threads?: number;
  readonly memory?: Memory;
  readonly lockSeconds?: number;
  readonly allowEnv?: readonly string[];
  readonly allowFile?: readonly string[];
  readonly allowLocalCode?: readonly string[];
}

const isQueue = (name: string): name is QueueName => (QUEUES as readonly string[]).includes(name);

/** Names of queues with commas between them. */
function parseQueues(text: string): QueueName[] {
  const names = text.split(',').map((name) => name.trim());
  if (!names.every(isQueue)) throw new InvalidArgumentError(`expected ${QUEUES.join(', ')}, with commas between them.`);
  return [...new Set(names)];
}

function workerOptions(options: WorkerCommandOptions, context: CliContext): WorkerOptions {
  const { queue: url, prefix, ca, take, concurrency, threads, memory, lockSeconds } = options;
  return {
    ...ioOf(context),
    queue: {
      url,
      ...(prefix === undefined ? {} : { prefix }),
      ...(ca === undefined ? {} : { caFile: ca }),
    },
    ...(take === undefined ? {} : { take }),
    ...(concurrency === undefined ? {} : { concurrency }),
    ...(threads === undefined ? {} : { threads }),
    ...(memory === undefined ? {} : { memory }),
    ...(lockSeconds === undefined ? {} : { lockSeconds }),
    permissions: { code: options.allowLocalCode ?? [], files: options.allowFile ?? [] },
    variables: options.allowEnv ?? [],
    said: (line) => context.notify(line),
  };
}

async function work(options: WorkerCommandOptions, context: CliContext): Promise<void> {
  const { queue } = options;
  const problem = queueUrlProblem(queue); // before it is printed: it may hold a password
  if (problem !== undefined) throw new FloodgateError('usage', `--queue: ${problem}`);
  context.begin(`worker of ${queue}; Ctrl-C hands its jobs back and stops it`, context.commandLine);
  const { runWorker } = await import('../workers/worker.ts'); // all that a run has: said first
  let name = '';
  const counts = await runWorker(workerOptions(options, context), (own) => {
    name = own;
    context.notify(`worker ${name} takes jobs`);
  });
  const { jobs, attacks, answers, verdicts, runs, handedBack, refused } = counts;
  const done = [
    `${jobs} jobs`,
    `${attacks} attacks drawn`,
    `${answers} answers`,
    `${verdicts} verdicts`,
    `${runs} whole runs`,
  ];
  const parts = [...done, `${handedBack} jobs handed back`];
  const text = `worker ${name} stopped: ${parts.join(', ')}${refused === 0 ? '' : `, ${refused} refused`}`;
  printResult(context, { text, json: { worker: name, queue, ...counts } });
}

/** Adds `floodgate worker`. */
export function registerWorkerCommand(program: Command, context: CliContext): void {
  program
    .command('worker')
    .description(COMMAND_WORDS.worker)
    .requiredOption('--queue <url>', 'Redis: redis://host:6379, rediss:// for TLS, or unix:///path of its socket')
    .option('--prefix <name>', 'begins the keys in Redis, as queue.prefix of the configs')
    .option('--ca <file>', 'PEM file of certificates that are trusted beside those of Node')
    .option('--take <kinds>', `jobs that it takes: ${QUEUES.join(', ')} (default: all)`, parseQueues)
    .option('--concurrency <count>', 'jobs under way at once (default: 16)', parsePositiveCount)
    .option('--threads <count>', 'threads of the model runtime (default: those of the config)', parsePositiveCount)
    .addOption(
      new Option('--memory <kind>', 'as in a config, for what it computes: small decodes slower').choices(MEMORIES),
    )
    .option('--lock-seconds <count>', 'silence after which others take its jobs (default: 60)', parsePositiveCount)
    .option('--allow-env <name...>', 'environment variables that configs may name, such as that of a key')
    .option('--allow-file <file...>', 'files of keys and certificates that configs may name')
    .option('--allow-local-code <file...>', 'files, or whole command lines in quotes, that configs may have run')
    .addHelpText(
      'after',
      `
A worker asks the targets and judges of runs whose config has a queue. It draws their attacks where
gflownet.pipeline.searches is workers, and does whole runs of studies whose config has queue.runs, one at a time.
FLOODGATE_QUEUE_KEY holds the key that signs the jobs, the same on every side; it may be absent where Redis is on this
machine. FLOODGATE_QUEUE_PASSWORD holds the password of Redis. A worker runs no code that comes from the queue, and reads no secret that it was not started with.

Examples:
  floodgate worker --queue redis://127.0.0.1:6379
  floodgate worker --queue rediss://redis.example:6380 --concurrency 64 --allow-env OPENAI_API_KEY
  floodgate worker --queue redis://127.0.0.1:6379 --take runs
  floodgate worker --queue unix:///run/redis/redis.sock --allow-local-code ./my-target.mjs`,
    )
    .action((options: WorkerCommandOptions) => work(options, context));
}
