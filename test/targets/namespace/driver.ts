import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect, type Socket } from 'node:net';
import { openAiAnswers, sendJson, startTestServer } from '../openai-server.ts';
import type { NamespaceOutcome, NamespaceWork } from './namespace.ts';

/** Runs inside the network namespace: servers, and one command line after the other. */

const [workFile = ''] = process.argv.slice(2);
const { recorder, cwd, command, commands } = JSON.parse(readFileSync(workFile, 'utf8')) as NamespaceWork;

const answers = openAiAnswers({ reply: (prompt) => (prompt.includes('z') ? 'alarm bell' : 'fine thanks') });
await startTestServer(answers, { host: '127.0.0.1', port: 8001 });
await startTestServer((response) => sendJson(response, { score: 0.2 }), { host: '127.0.0.2', port: 8002 });

/** A proxy that leads every host to the first server. */
const proxy = createServer();
proxy.on('connect', (_request, socket: Socket) => {
  const upstream = connect(8001, '127.0.0.1', () => {
    socket.write('HTTP/1.1 200 OK\r\n\r\n');
    upstream.pipe(socket).pipe(upstream);
  });
  for (const each of [socket, upstream]) each.on('error', () => undefined);
});
await new Promise<void>((resolve) => proxy.listen(3128, '127.0.0.3', resolve));

/** The addresses that one process and its children connected to. */
function run(args: readonly string[], env: Readonly<Record<string, string>>): Promise<NamespaceOutcome> {
  const [file = '', ...before] = command;
  const child = spawn(file, [...before, ...args], {
    cwd,
    env: { ...process.env, NODE_OPTIONS: `--import ${recorder}`, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data: Buffer) => {
    stdout += String(data);
  });
  child.stderr.on('data', (data: Buffer) => {
    stderr += String(data);
  });
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, stdout, stderr })));
}

const outcomes: NamespaceOutcome[] = [];
for (const { args, env = {} } of commands) outcomes.push(await run(args, env));
process.stdout.write(JSON.stringify(outcomes), () => process.exit());
