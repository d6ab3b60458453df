import { join } from 'node:path';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import type { TuningExample } from './tuning-data.ts';

/** The origin of a data set, which each of its lines repeats. */
export interface DatasetOrigin {
  readonly run: string;
  /** The model whose answers it holds, and the sha256 of its source. */
  readonly target: string;
  readonly targetSha256: string;
  readonly systemPrompt: string | undefined;
  readonly license: string;
}

/** Names of the files in the data folder. */
export const DATASET_FILES = {
  chat: 'chat-sft.jsonl',
  preference: 'preference.jsonl',
  prompts: 'prompts.jsonl',
} as const;

type Message = { readonly role: string; readonly content: string };

function promptMessages({ prompt }: TuningExample, { systemPrompt }: DatasetOrigin): Message[] {
  const system = systemPrompt === undefined ? [] : [{ role: 'system', content: systemPrompt }];
  return [...system, { role: 'user', content: prompt }];
}

function provenanceOf(example: TuningExample, origin: DatasetOrigin): object {
  const { kind, cluster, split, answerSource, attack } = example;
  return {
    split,
    license: origin.license,
    provenance: {
      kind,
      run: origin.run,
      target: origin.target,
      target_sha256: origin.targetSha256,
      answer_source: answerSource,
      cluster,
      ...(attack === undefined
        ? {}
        : { attack_id: attack.attackId, stage: attack.stage, mean_unsafe: attack.meanUnsafe }),
    },
  };
}

/**
 * Writes the data set in the three forms that trainers read, one JSON object a line, each file atomically:
 * `chat-sft.jsonl` (`messages`), `preference.jsonl` (`prompt`, `chosen`, `rejected`: the refusal against the unsafe
 * response; attacks only) and `prompts.jsonl` (`prompt`).
 * @throws FloodgateError `store` when the disk refuses.
 */
export async function writeDataset(
  folder: string,
  examples: readonly TuningExample[],
  origin: DatasetOrigin,
): Promise<void> {
  const assistant = (content: string): Message[] => [{ role: 'assistant', content }];
  const rows: Readonly<Record<keyof typeof DATASET_FILES, object[]>> = {
    chat: examples.map((example) => ({
      messages: [...promptMessages(example, origin), ...assistant(example.answer)],
      ...provenanceOf(example, origin),
    })),
    preference: examples.flatMap((example) =>
      example.attack === undefined
        ? []
        : [
            {
              prompt: promptMessages(example, origin),
              chosen: assistant(example.answer),
              rejected: assistant(example.attack.worstResponse),
              ...provenanceOf(example, origin),
            },
          ],
    ),
    prompts: examples.map((example) => ({ prompt: example.prompt, ...provenanceOf(example, origin) })),
  };
  for (const [form, name] of Object.entries(DATASET_FILES)) {
    const lines = rows[form as keyof typeof DATASET_FILES].map((row) => `${JSON.stringify(row)}\n`);
    await writeFileAtomically(join(folder, name), (file) => file.writeFile(lines.join('')));
  }
}
