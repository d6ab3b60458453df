import { spawn } from 'node:child_process';
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { FloodgateError } from '../../base/errors.ts';
import { interruptedError } from './model-source.ts';
import type { WheelSpec } from './model-spec.ts';
import type { SourceSettings } from './source-environment.ts';

/** The command that installs Python and pip. */
export const PYTHON_HINT = 'apt-get install -y python3 python3-pip (or set FLOODGATE_PYTHON to a Python with pip)';

/** Interval at which the growing download is measured. */
const PROGRESS_POLL_MS = 300;
/** Length of pip's standard error that is kept; a broken mirror can print without end. */
const MAX_STDERR_CHARS = 20_000;

/**
 * Runs `pip download --no-deps`, with this machine's pip configuration, in a folder of its own below `scratchFolder`;
 * returns the path of the wheel. It requests only prebuilt wheels, so that no code of the package runs.
 * @throws FloodgateError `source` when Python, pip or the package is missing; `interrupted` when stopped.
 */
export async function downloadWithPip(
  spec: WheelSpec,
  scratchFolder: string,
  settings: SourceSettings,
  onBytes: (bytes: number) => void,
): Promise<string> {
  const requirement = `${spec.project}==${spec.version}`;
  const folder = join(scratchFolder, 'pip');
  await rm(folder, { recursive: true, force: true }); // pip cannot resume: leftovers are useless
  const tempFolder = join(folder, 'temp');
  await mkdir(tempFolder, { recursive: true });
  const poll = setInterval(() => void measureFolder(folder).then(onBytes), PROGRESS_POLL_MS);
  try {
    await runPip(requirement, folder, tempFolder, settings);
  } finally {
    clearInterval(poll);
  }
  const wheels = (await readdir(folder)).filter((name) => name.endsWith('.whl'));
  const [wheel, ...others] = wheels;
  if (wheel === undefined || others.length > 0) {
    throw new FloodgateError('source', `pip download ${requirement}: got ${wheels.length} wheels, expected 1`);
  }
  return join(folder, wheel);
}

function runPip(requirement: string, folder: string, tempFolder: string, settings: SourceSettings): Promise<void> {
  const { env, signal } = settings;
  const python = env.FLOODGATE_PYTHON || (process.platform === 'win32' ? 'python' : 'python3');
  const args = ['-m', 'pip', 'download', '--no-deps', '--only-binary=:all:', '--ignore-requires-python', '--no-input'];
  args.push('--disable-pip-version-check', '--progress-bar', 'off', '--dest', folder, requirement);
  return new Promise((resolvePromise, reject) => {
    // Run in our own folder: `python -m pip` would import a pip.py from the user's working folder.
    const child = spawn(python, args, {
      cwd: tempFolder,
      env: { ...env, TMPDIR: tempFolder, PYTHONDONTWRITEBYTECODE: '1' },
      stdio: ['ignore', 'ignore', 'pipe'],
      ...(signal === undefined ? {} : { signal }),
    });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(-MAX_STDERR_CHARS);
    });
    child.on('error', (cause) => {
      if (signal?.aborted) reject(interruptedError(`pip download ${requirement}`));
      else reject(missingPython(`${python} cannot be started (${cause.message})`, requirement, cause));
    });
    child.on('close', (code) => {
      if (signal?.aborted) reject(interruptedError(`pip download ${requirement}`));
      else if (code === 0) resolvePromise();
      else reject(pipError(requirement, stderr));
    });
  });
}

function missingPython(what: string, requirement: string, cause?: unknown): FloodgateError {
  return new FloodgateError('source', `pip download ${requirement}: ${what}, expected Python 3 with pip`, {
    hint: PYTHON_HINT,
    cause,
  });
}

function pipError(requirement: string, stderr: string): FloodgateError {
  if (/No module named '?pip/.test(stderr)) return missingPython('this Python has no pip', requirement);
  if (/No matching distribution|Could not find a version/.test(stderr)) {
    return new FloodgateError('source', `pip download ${requirement}: the package index has no such wheel`, {
      hint: 'check the name and version, and which index pip uses: python3 -m pip config list',
    });
  }
  const lines = stderr.trim().split('\n').slice(-4).join(' | ');
  return new FloodgateError('source', `pip download ${requirement}: pip failed: ${lines || 'no message'}`, {
    hint: 'check the network and which index pip uses: python3 -m pip config list',
  });
}

/** Bytes of all files below the folder. A file that vanishes during the walk counts as 0. */
async function measureFolder(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  let bytes = 0;
  for (const entry of entries) {
    if (entry.isFile())
      bytes += await stat(join(entry.parentPath, entry.name)).then(
        (file) => file.size,
        () => 0,
      );
  }
  return bytes;
}
