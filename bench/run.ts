import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { nowMs } from '../src/base/clock.ts';
import { FloodgateError } from '../src/base/errors.ts';
import { resolveModel } from '../src/models/sources/resolve-model.ts';
import { settleSourceOptions } from '../src/models/sources/source-environment.ts';
import { interleave, type SideRun } from './interleave.ts';
import { LineProcess } from './line-process.ts';
import { describeMachine, ownVersions, ROOT } from './machine.ts';
import { missingModules, PEERS_HINT } from './python.ts';
import { type BenchResult, groupResult, groupTable, writeResult } from './report.ts';
import type { Group, SideSpec } from './work.ts';
import { WORKS } from './works.ts';

const USAGE = `npm run bench -- [options]
  --work NAME     ${WORKS.map(({ name }) => name).join(', ')}; all when left out
  --rounds N      counted rounds (5)      --warmup N   rounds before them (1)
  --threads N     of every side (2)
  --python PATH   Python of the peers' environment (python3)
  --no-peers      Floodgate's own side alone
  --small         tiny shapes, to see that everything runs; writes no file unless --out is given
  --gguf FILE     SmolLM2-135M-Instruct; from the model cache when left out
  --out FOLDER    where the JSON goes (bench/results)`;

const SETTLE_MS = 300;
/** Above this many runnable processes the machine is not idle. */
const IDLE_LOAD = 0.5;

const { values } = parseArgs({
  options: {
    work: { type: 'string' },
    rounds: { type: 'string', default: '5' },
    warmup: { type: 'string', default: '1' },
    threads: { type: 'string', default: '2' },
    python: { type: 'string', default: 'python3' },
    'no-peers': { type: 'boolean', default: false },
    small: { type: 'boolean', default: false },
    gguf: { type: 'string' },
    out: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

function usage(message: string): never {
  throw new FloodgateError('usage', message, { hint: USAGE });
}

function count(name: 'rounds' | 'warmup' | 'threads', least: number): number {
  const number = Number(values[name]);
  if (!Number.isInteger(number) || number < least) usage(`--${name}: got ${values[name]}, expected a whole number`);
  return number;
}

async function ggufPath(): Promise<string> {
  if (values.gguf !== undefined) return values.gguf;
  return (await resolveModel('smollm2-135m-instruct')).path;
}

function startSide(spec: SideSpec): LineProcess {
  const common = [...spec.options, '--threads', values.threads, ...(values.small ? ['--small'] : [])];
  if (spec.program === 'python') {
    return new LineProcess(values.python, [fileURLToPath(new URL(`bench/peers/${spec.script}`, ROOT)), ...common]);
  }
  const main = fileURLToPath(new URL('sides/main.js', import.meta.url));
  const cache = settleSourceOptions().cacheDir;
  return new LineProcess(process.execPath, [main, '--side', spec.script, '--cache', cache, ...common]);
}

/** The modules that this Python lacks of those that the groups' peers need; stops when no peer could run. */
function probePython(groups: readonly Group[]): ReadonlySet<string> {
  const peers = groups.flatMap(({ sides }) => sides).filter(({ program }) => program === 'python');
  if (peers.length === 0) return new Set();
  const missing = missingModules(values.python, [...new Set(peers.flatMap(({ modules }) => modules))]);
  const canRun = missing !== undefined && peers.some(({ modules }) => !modules.some((name) => missing.has(name)));
  if (canRun) return missing;
  const what = missing === undefined ? 'it cannot be started' : `it lacks ${[...missing].join(', ')}`;
  throw new FloodgateError('usage', `bench with ${values.python}: ${what}`, { hint: PEERS_HINT });
}

async function runGroup(
  group: Group,
  missing: ReadonlySet<string>,
  settings: { readonly rounds: number; readonly warmupRounds: number },
): Promise<SideRun[]> {
  const lacks = ({ modules }: SideSpec): string[] => modules.filter((name) => missing.has(name));
  const runs = await interleave(
    group.sides
      .filter((spec) => lacks(spec).length === 0)
      .map((spec) => ({ name: spec.name, start: () => startSide(spec) })),
    {
      ...settings,
      settleMs: SETTLE_MS,
      onProgress: (text) => process.stderr.write(`[${group.name}] ${text}\n`),
    },
  );
  const left = group.sides
    .filter((spec) => lacks(spec).length > 0)
    .map(({ name, ...spec }): SideRun => {
      const failure = `the Python given lacks ${lacks({ name, ...spec }).join(', ')}`;
      return { name, ready: undefined, answers: [], failure };
    });
  return [...runs, ...left];
}

function withoutPeers(group: Group): Group {
  const sides = group.sides.filter(({ program }) => program === 'floodgate');
  const has = (name: string): boolean => sides.some((side) => side.name === name);
  return { ...group, sides, ratios: group.ratios.filter(({ top, bottom }) => has(top.side) && has(bottom.side)) };
}

/** Goals are for the full shapes. */
function withoutGoals(group: Group): Group {
  return { ...group, ratios: group.ratios.map(({ goal: _unused, ...ratio }) => ratio) };
}

async function main(): Promise<void> {
  if (values.help) {
    console.log(USAGE);
    return;
  }
  const settings = { rounds: count('rounds', 1), warmupRounds: count('warmup', 0), threads: count('threads', 1) };
  const works = values.work === undefined ? WORKS : WORKS.filter(({ name }) => name === values.work);
  if (works.length === 0) usage(`--work: got ${values.work}, expected one of ${WORKS.map(({ name }) => name)}`);
  const needsModel = works.some(({ name }) => name.startsWith('generate'));
  const gguf = needsModel ? await ggufPath() : '';
  if (needsModel && !existsSync(gguf)) usage(`--gguf: there is no file ${gguf}`);
  const plans = works.map((work) => {
    let groups = work.groups({ gguf: () => gguf });
    if (values['no-peers']) groups = groups.map(withoutPeers);
    return { work, groups: values.small ? groups.map(withoutGoals) : groups };
  });
  const missing = probePython(plans.flatMap(({ groups }) => groups));
  const machine = describeMachine();
  if (machine.loadBefore > IDLE_LOAD) {
    console.error(`The machine is busy (load ${machine.loadBefore.toFixed(2)}): these times will mean little.`);
  }
  for (const { work, groups } of plans.filter((plan) => plan.groups.length > 0)) {
    console.log(`\n# ${work.title}`);
    const results = [];
    for (const group of groups) {
      const result = groupResult(group, await runGroup(group, missing, settings));
      console.log(groupTable(result));
      if (result.sides.some(({ failure }) => failure !== undefined)) process.exitCode = 1;
      results.push(result);
    }
    const result: BenchResult = {
      schemaVersion: 1,
      work: work.name,
      title: work.title,
      date: new Date(nowMs()).toISOString(),
      ...settings,
      isSmall: values.small,
      machine,
      versions: ownVersions(),
      groups: results,
    };
    if (values.small && values.out === undefined) continue;
    const folder = values.out ?? fileURLToPath(new URL('bench/results', ROOT));
    console.log(`written: ${await writeResult(folder, result)}`);
  }
}

await main().catch((error: unknown) => {
  if (!(error instanceof FloodgateError)) throw error;
  console.error(`${error.message}${error.hint === undefined ? '' : `\n${error.hint}`}`);
  process.exitCode = error.code === 'usage' ? 2 : 1;
});
