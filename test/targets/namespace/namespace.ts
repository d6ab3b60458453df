import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

export interface NamespaceOutcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The work of one namespace, as its driver reads it. */
export interface NamespaceWork {
  /** Module that is loaded before each command, and writes down where it connects to. */
  readonly recorder: string;
  readonly cwd: string;
  readonly command: readonly string[];
  readonly commands: readonly NamespaceCommand[];
}

export interface NamespaceCommand {
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export interface Contacts extends NamespaceOutcome {
  /** Each host with its port that the command tried to connect to, sorted. */
  readonly contacted: readonly string[];
}

const ENTER = ['-rn', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh'];

/** Why this machine gives no network of its own; undefined where it does. */
export function whyNoNamespace(): string | undefined {
  const { status, error, stderr } = spawnSync('unshare', [...ENTER, 'true'], { encoding: 'utf8' });
  if (status === 0) return undefined;
  return (error?.message ?? stderr.trim()) || `unshare ended with ${status}`;
}

/** Whether the system calls of a process can be read too: they show what native code connects to. */
export function hasTrace(): boolean {
  return spawnSync('strace', ['-f', '--seccomp-bpf', '-e', 'trace=connect', 'true']).status === 0;
}

/** Every connection of Node passes `Socket.connect`, those of TLS, of undici and of workers too. */
const RECORDER = `
import { appendFileSync } from 'node:fs';
import { Socket } from 'node:net';
const { connect } = Socket.prototype;
Socket.prototype.connect = function (...args) {
  const [first, second] = Array.isArray(args[0]) ? args[0] : args;
  const { port, host = 'localhost', path } =
    typeof first === 'object' ? first : { port: first, host: typeof second === 'string' ? second : undefined };
  if (path === undefined || path === null)
    appendFileSync(process.env.CONTACTS_FILE, host + ':' + port + '\\n');
  return connect.apply(this, args);
};
`;

const CONNECT = /sa_family=AF_INET6?, sin6?_port=htons\((\d+)\).*?(?:inet_addr\(|inet_pton\(AF_INET6, )"([^"]+)"/g;

function contactsIn(folder: string, index: number): string[] {
  const read = (name: string): string => {
    const file = join(folder, `${name}-${index}`);
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  };
  const seen = read('contacts').split('\n').filter(Boolean);
  const traced = [...read('trace').matchAll(CONNECT)].map(([, port, host]) => `${host}:${port}`);
  return [...new Set([...seen, ...traced])].sort();
}

/** The test's own part that runs inside, as JavaScript. */
function compileDriver(folder: string): string {
  const root = resolve(import.meta.dirname, '../../..');
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const out = join(folder, 'driver');
  const settings = {
    extends: join(root, 'tsconfig.json'),
    files: [join(import.meta.dirname, 'driver.ts')],
    include: [],
  };
  const compilerOptions = { noEmit: false, outDir: out, rootDir: join(root, 'test/targets'), types: [] };
  mkdirSync(out);
  writeFileSync(join(out, 'package.json'), '{ "type": "module" }');
  writeFileSync(join(out, 'tsconfig.json'), JSON.stringify({ ...settings, compilerOptions }));
  execFileSync(process.execPath, [tsc, '-p', join(out, 'tsconfig.json'), '--noCheck']);
  return join(out, 'namespace', 'driver.js');
}

/**
 * Runs commands one after the other in a network namespace whose only interface is the loopback, with the servers of
 * the driver. @param folder for the files of the work.
 */
export async function runInNamespace(
  { mainPath, cwd, folder }: { readonly mainPath: string; readonly cwd: string; readonly folder: string },
  commands: readonly NamespaceCommand[],
): Promise<Contacts[]> {
  mkdirSync(folder);
  const recorder = join(folder, 'recorder.mjs');
  writeFileSync(recorder, RECORDER);
  const isTraced = hasTrace();
  const trace = (index: number): string[] =>
    isTraced ? ['-f', '-qq', '--seccomp-bpf', '-e', 'trace=connect', '-o', join(folder, `trace-${index}`), '--'] : [];
  const work: NamespaceWork = {
    recorder: pathToFileURL(recorder).href,
    cwd,
    command: [isTraced ? 'strace' : process.execPath],
    commands: commands.map(({ args, env = {} }, index) => ({
      args: [...(isTraced ? [...trace(index), process.execPath] : []), mainPath, ...args],
      env: { ...env, CONTACTS_FILE: join(folder, `contacts-${index}`) },
    })),
  };
  const workFile = join(folder, 'work.json');
  writeFileSync(workFile, JSON.stringify(work));
  const args = [...ENTER, process.execPath, compileDriver(folder), workFile];
  const { stdout } = await promisify(execFile)('unshare', args, { maxBuffer: 2 ** 26 });
  const outcomes = JSON.parse(stdout) as NamespaceOutcome[];
  return outcomes.map((outcome, index) => ({ ...outcome, contacted: contactsIn(folder, index) }));
}
