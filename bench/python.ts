import { spawnSync } from 'node:child_process';

export const PEERS_HINT =
  'Make the environment of the peers once, outside the repository (about 6 GB):\n' +
  '  python3 -m venv VENV && VENV/bin/pip install -r bench/peers/requirements.txt\n' +
  "then pass --python VENV/bin/python; or measure Floodgate's own side alone with --no-peers.";

const PROBE = 'import importlib.util as u, sys; print("\\n".join(m for m in sys.argv[1:] if u.find_spec(m) is None))';

/** Which of `modules` this Python lacks; undefined when it cannot be started. */
export function missingModules(python: string, modules: readonly string[]): Set<string> | undefined {
  const answer = spawnSync(python, ['-c', PROBE, ...modules], { encoding: 'utf8' });
  return answer.status === 0 ? new Set(answer.stdout.split('\n').filter(Boolean)) : undefined;
}
