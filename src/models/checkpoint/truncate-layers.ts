import { FloodgateError } from '../../base/errors.ts';
import type { DecoderCheckpoint } from './checkpoint.ts';

/**
 * The same model without its last layers: the first `layers` of them, then its final norm and head. It reads the same
 * weight file; the tensors of the layers that are left out are never asked for.
 *
 * @throws FloodgateError `model` unless 1 <= layers <= the layers that the model's config has.
 */
export function truncateLayers(checkpoint: DecoderCheckpoint, layers: number): DecoderCheckpoint {
  const { config, spec } = checkpoint;
  if (!(Number.isSafeInteger(layers) && layers >= 1 && layers <= config.layers)) {
    throw new FloodgateError(
      'model',
      `open ${spec}: got layers: ${layers}, expected 1 to ${config.layers}, what a model of its config (${config.family}) has`,
    );
  }
  return { ...checkpoint, config: { ...config, layers } };
}
