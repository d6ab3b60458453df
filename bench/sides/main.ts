import { parseArgs } from 'node:util';
import { FloodgateError } from '../../src/base/errors.ts';
import { openGenerate } from './generate.ts';
import { openLimit } from './limit.ts';
import { openMicroStep } from './micro-step.ts';
import { type Side, type SideOptions, serve } from './side.ts';
import { openTrainStep } from './train-step.ts';

const SIDES: Readonly<Record<string, (options: SideOptions) => Promise<Side>>> = {
  'train-step': openTrainStep,
  generate: openGenerate,
  'micro-step': openMicroStep,
  limit: openLimit,
};

const { values } = parseArgs({
  options: {
    side: { type: 'string', default: '' },
    cache: { type: 'string', default: '' },
    threads: { type: 'string', default: '2' },
    batch: { type: 'string', default: '16' },
    variant: { type: 'string', default: 'fp32' },
    of: { type: 'string', default: '' },
    gguf: { type: 'string' },
    small: { type: 'boolean', default: false },
  },
});

const open = SIDES[values.side];
if (open === undefined) {
  throw new FloodgateError('usage', `bench: got side ${values.side}, expected one of ${Object.keys(SIDES).join(', ')}`);
}
const options: SideOptions = {
  threads: Number(values.threads),
  isSmall: values.small,
  batch: Number(values.batch),
  variant: values.variant,
  gguf: values.gguf,
  of: values.of,
  cacheDir: values.cache,
};
await serve(() => open(options), { threads: options.threads, small: options.isSmall });
