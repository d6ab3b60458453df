import type { GuardFormatName } from './guard-formats.ts';

/** Names that servers have for guards, with their formats. A stream guard has no label that could be asked for. */
const GUARD_NAMES: readonly (readonly [RegExp, GuardFormatName])[] = [
  [/llama-?guard-?7b/i, 'llama-guard-1'],
  [/llama-?guard-?2/i, 'llama-guard-2'],
  [/llama-?guard-?3/i, 'llama-guard-3'],
  [/llama-?guard-?4/i, 'llama-guard-4'],
  [/qwen3-?guard(?!.*stream)/i, 'qwen3guard'],
  [/shield-?gemma/i, 'shieldgemma'],
  [/wild-?guard/i, 'wildguard'],
  [/granite.*guardian/i, 'granite-guardian'],
];

/** The format of a guard by the name that its server has for it; undefined for any other model. */
export function guardFormatOf(model: string): GuardFormatName | undefined {
  return GUARD_NAMES.find(([pattern]) => pattern.test(model))?.[1];
}
