import { FloodgateError } from '../../base/errors.ts';
import { type Config, isFromWorld } from '../config/config.ts';

function refuse(key: string, what: string, hint: string): never {
  throw new FloodgateError('config', `${key}: ${what}, and the run is done by a worker`, { hint });
}

const HERE = 'set queue.runs: false to do these runs here';

/**
 * Refuses what a whole run on another machine would not find there, or would decide there in another way.
 * @throws FloodgateError `config` with the key.
 */
export function refuseUnportable(config: Config): void {
  const { attacker, attackers, target, sharedAnswers, queue } = config;
  const { replay, gflownet } = config as {
    readonly replay?: { readonly from?: string };
    readonly gflownet?: { readonly pipeline?: { readonly searches?: string } };
  };
  if (attacker.from !== undefined && !isFromWorld(config))
    refuse('attacker.from', `got ${attacker.from}, which is on one machine`, HERE);
  if (attackers.includes('replay') && replay?.from !== undefined)
    refuse('replay.from', `got ${replay.from}, which is on one machine`, HERE);
  if (gflownet?.pipeline?.searches === 'workers')
    refuse(
      'gflownet.pipeline.searches',
      'got workers',
      'set gflownet.pipeline.searches: learner, or queue.runs: false',
    );
  if (sharedAnswers) refuse('sharedAnswers', 'got true', 'set sharedAnswers: false');
  if (target.precision === 'auto')
    refuse('target.precision', 'got auto, which workers may decide otherwise', 'set target.precision: int8 or fp32');
  if (queue !== undefined) refuse('queue', 'got one', 'a worker asks target and judges itself');
}
