import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { monotonicMs } from '../../src/base/clock.ts';
import { randomStream } from '../../src/base/random.ts';
import { alignColumns, printResult } from '../../src/cli/command-output.ts';
import type { CliContext } from '../../src/cli/context.ts';
import { parsePositiveCount } from '../../src/cli/options.ts';
import { directWeights } from '../../src/learning/objectives/objective.ts';
import { openPolicySession, type PolicySession } from '../../src/models/decoder/policy-session.ts';
import { createOpenModels } from '../../src/models/open-models.ts';
import { openCallLog } from '../../src/runs/store/call-log.ts';
import { openTarget } from '../../src/stages/campaign/open-parts.ts';
import { createBudget } from '../../src/trial/budget.ts';
import { createCallMeter } from '../../src/trial/call-meter.ts';
import { keepAnswers } from '../../src/trial/kept-answers.ts';
import { type Experiment, examples } from '../experiment.ts';
import { slowServer } from '../slow-server.ts';

interface InFlightOptions {
  readonly calls: number;
  readonly atOnce: number;
  readonly latency: number;
}

const ROWS = 8;
const ROW_TOKENS = 16;

/** SmolLM2's training step, with LoRA on every projection of attention. */
async function openStep(ownThread: boolean): Promise<PolicySession> {
  const { config, weights } = await createOpenModels({ threads: 1 }).openDecoder('smollm2-135m-instruct');
  return openPolicySession(
    {
      config,
      weights,
      trainable: { kind: 'lora', spec: { rank: 8, alpha: 16, targets: ['q_proj', 'v_proj'] } },
      contextTokens: 64,
      bans: { always: [], end: [] },
      logZ: 'none',
    },
    { device: 'cpu', threads: 1, ownThread },
  );
}

async function stepOnce(policy: PolicySession): Promise<void> {
  const stream = randomStream(0, 'in flight');
  const rows = Array.from({ length: ROWS }, () => Array.from({ length: ROW_TOKENS }, () => stream.nextInt(1000)));
  policy.clearGradient();
  const weights = directWeights(new Float32Array(ROWS).fill(1));
  await policy.step({ prompt: [1], rows }, { minTokens: 0 }, new Float32Array(ROWS), weights);
}

/** How calls go while nothing, or a training step, computes. */
interface Flight {
  readonly beside: string;
  /** Calls a second, as a share of `atOnce` calls a latency. */
  readonly rate: number;
  /** Delay of the event loop, 99th percentile, ms. */
  readonly delayMs: number;
  readonly steps: number;
}

async function fly(beside: string, policy: PolicySession | undefined, options: InFlightOptions): Promise<Flight> {
  const { calls, atOnce, latency } = options;
  const server = await slowServer(latency);
  const { target, close } = await openTarget({
    kind: 'openai',
    baseUrl: server.baseUrl,
    model: 'slow',
    concurrency: atOnce,
    responses: 1,
    decode: { temperature: 1, topP: 1, topK: 0, maxNewTokens: 8 },
  });
  const folder = mkdtempSync(join(tmpdir(), 'floodgate-in-flight-'));
  const log = openCallLog(join(folder, 'calls.db'));
  const meter = createCallMeter({ budget: createBudget({}, log), prices: undefined });
  const kept = keepAnswers(target, { identity: 'in flight', log, meter, reads: true });
  try {
    const decode = { temperature: 1, topP: 1, topK: 0, maxNewTokens: 8 };
    const requestsOf = (count: number) =>
      Array.from({ length: count }, (_, i) => ({ attack: `attack ${i}`, streamName: ['in flight', count, i] }));
    await kept.ask(requestsOf(atOnce), { responses: 1, decode }); // opens the connections
    const requests = requestsOf(calls);
    const delay = monitorEventLoopDelay({ resolution: 5 });
    delay.enable();
    const started = monotonicMs();
    let isDone = false;
    let steps = 0;
    const asking = kept.ask(requests, { responses: 1, decode }).finally(() => {
      isDone = true;
    });
    while (policy !== undefined && !isDone) {
      await stepOnce(policy);
      steps++;
    }
    await asking;
    const ideal = (Math.ceil(calls / atOnce) * latency) / (monotonicMs() - started);
    delay.disable();
    return { beside, rate: ideal, delayMs: delay.percentile(99) / 1e6, steps };
  } finally {
    await close();
    await server.close();
    log.close();
    rmSync(folder, { recursive: true });
  }
}

async function measure(options: InFlightOptions): Promise<Flight[]> {
  const flights = [await fly('nothing', undefined, options)];
  for (const ownThread of [true, false]) {
    const policy = await openStep(ownThread);
    try {
      await stepOnce(policy); // the first step allocates
      // On this thread the calls wait for every step: a tenth of them says it.
      const asked = ownThread ? options : { ...options, calls: Math.ceil(options.calls / 10) };
      flights.push(await fly(ownThread ? 'steps in their own thread' : 'steps on this thread', policy, asked));
    } finally {
      await policy.close();
    }
  }
  return flights;
}

async function report(options: InFlightOptions, context: CliContext): Promise<void> {
  const flights = await measure(options);
  const rows = flights.map(({ beside, rate, delayMs, steps }) => [
    beside,
    rate.toFixed(2),
    delayMs.toFixed(0),
    String(steps),
  ]);
  const head = ['beside the calls', 'share of the ideal rate', 'event loop delay p99, ms', 'training steps'];
  printResult(context, { text: alignColumns([head, ...rows]), json: { ...options, flights } });
}

/** `npm run lab -- in-flight`. */
export const inFlight: Experiment = {
  name: 'in-flight',
  description: 'how close calls come to the ideal rate while SmolLM2 learns (docs/performance.md)',
  define: (command, context) =>
    command
      .option('--calls <count>', 'calls of one measurement', parsePositiveCount, 6400)
      .option('--at-once <count>', 'calls in flight', parsePositiveCount, 64)
      .option('--latency <ms>', "the server's, ms", parsePositiveCount, 200)
      .addHelpText('after', examples('in-flight', 'in-flight --calls 1280'))
      .action((options: InFlightOptions) => report(options, context)),
};
