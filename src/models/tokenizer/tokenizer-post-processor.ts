import type { PostProcessorConfig } from './tokenizer-json.ts';

/** Ids put before and after one text. */
export interface SpecialFrame {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

const EMPTY_FRAME: SpecialFrame = { before: [], after: [] };

function templateFrame(config: Extract<PostProcessorConfig, { type: 'TemplateProcessing' }>): SpecialFrame {
  const before: number[] = [];
  const after: number[] = [];
  let side = before;
  for (const item of config.single) {
    if ('Sequence' in item) side = after;
    else side.push(...(config.special_tokens[item.SpecialToken.id]?.ids ?? []));
  }
  return { before, after };
}

function frameOf(config: PostProcessorConfig): SpecialFrame {
  switch (config.type) {
    case 'ByteLevel':
      return EMPTY_FRAME;
    case 'TemplateProcessing':
      return templateFrame(config);
    case 'BertProcessing':
    case 'RobertaProcessing':
      return { before: [config.cls[1]], after: [config.sep[1]] };
  }
}

/** Returns what all post-processors together put around a single text. */
export function specialFrameOf(configs: readonly PostProcessorConfig[]): SpecialFrame {
  return configs
    .map(frameOf)
    .reduce(
      (inner, outer) => ({ before: [...outer.before, ...inner.before], after: [...inner.after, ...outer.after] }),
      EMPTY_FRAME,
    );
}
