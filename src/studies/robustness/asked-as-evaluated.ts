import { FloodgateError } from '../../base/errors.ts';
import type { Config } from '../../stages/config/config-schema.ts';
import type { LocalTransferTarget } from '../transfer/transfer-config.ts';

/**
 * How further versions of a run's target are asked: as its evaluation asks the target itself, so that replayed attacks
 * and attackers that were trained again are measured alike.
 * @throws FloodgateError `usage` when the target is a script.
 */
export function askedAsEvaluated({ target, evaluation }: Config): Omit<LocalTransferTarget, 'name' | 'model'> {
  if (target.kind !== 'local') {
    throw new FloodgateError('usage', 'the target is a script, which cannot be tuned', {
      hint: 'name a model under target (target.kind: local)',
    });
  }
  const { decode, template, systemPrompt, device } = target;
  return {
    kind: 'local',
    precision: 'fp32',
    template,
    device,
    decode,
    responses: evaluation.responses,
    ...(systemPrompt === undefined ? {} : { systemPrompt }),
  };
}
