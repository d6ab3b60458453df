// An objective of one's own: VarGrad with a Huber loss, so that one attack of an odd reward cannot turn the policy.
// In a config: gflownet: { objective: huber, huber: { delta: 2 } }
import { defineObjective, residuals, z } from 'floodgate';

/** @param {ArrayLike<number>} values */
const mean = (values) => Array.from(values).reduce((sum, value) => sum + value, 0) / values.length;

/** @param {number} x @param {number} delta */
const huber = (x, delta) => (Math.abs(x) <= delta ? x ** 2 / 2 : delta * (Math.abs(x) - delta / 2));

/**
 * Residuals of log pi and log R around their mean: the batch estimates log Z.
 * @param {ArrayLike<number>} logProbs
 * @param {ArrayLike<number>} logRewards
 */
function centred(logProbs, logRewards) {
  const all = residuals(logProbs, logRewards);
  const centre = mean(all);
  return all.map((residual) => residual - centre);
}

defineObjective({
  name: 'huber',
  describe: 'VarGrad with a Huber loss',
  settings: z
    .strictObject({ delta: z.number().positive().default(2).describe('nats beyond which the loss is linear') })
    .prefault({}),
  leastRows: 2,
  usesLogZ: false,
  create: ({ delta }) => ({
    name: 'huber',
    usesLogZ: false,
    loss: (logProbs, logRewards) => mean(centred(logProbs, logRewards).map((x) => huber(x, delta))),
    gradient: (logProbs, logRewards) => {
      const slopes = centred(logProbs, logRewards).map((x) => Math.max(-delta, Math.min(delta, x)));
      const centre = mean(slopes);
      return slopes.map((slope) => (slope - centre) / slopes.length);
    },
  }),
});
