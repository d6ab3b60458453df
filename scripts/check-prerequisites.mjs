// Stops before the tests when what they need from outside npm is missing, and names the one command that brings it.
// Plain JavaScript: it runs before anything else, on Node 20, which runs no TypeScript.
import { spawnSync } from 'node:child_process';

const chromium = process.env.FLOODGATE_CHROMIUM || 'chromium';

const prerequisites = [
  {
    command: chromium,
    args: ['--version'],
    isUnfit: `${chromium} does not run`,
    why: 'the tests look at the report in a real browser (FLOODGATE_CHROMIUM names another one)',
    bring: 'apt-get install -y chromium',
  },
];

for (const { command, args, isUnfit, why, bring } of prerequisites) {
  const answer = spawnSync(command, args, { encoding: 'utf8' });
  if (answer.status === 0) continue;
  const what = answer.error === undefined ? isUnfit : `${command} cannot be started`;
  process.stderr.write(`${what}: ${why}.\nBring it with:  ${bring}\n`);
  process.exitCode = 1;
}
