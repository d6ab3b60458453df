import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { makePrivateFolder, writeFileAtomically } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import type { RunFolder } from '../../runs/run-folder.ts';
import type { StoreQueries } from '../../runs/store/queries.ts';
import type { StoreWriter } from '../../runs/store/writer.ts';

export const ROBUSTNESS_VERSION = 1;

/** Transfer targets of this name belong to the robustness matrix; the report shows them there alone. */
export const ROBUSTNESS_PREFIX = 'robustness.';

/** The untuned target's column. */
export const BASE = 'base';

const measure = z.strictObject({
  value: z.number().nullable(),
  low: z.number().nullable(),
  high: z.number().nullable(),
  n: z.number(),
  method: z.string(),
  confidence: z.number().nullable(),
});

/** Of a real model: how well it still predicts the answers of held-out benign dialogues. */
const dialogueUtility = z.strictObject({
  kind: z.literal('dialogue'),
  /** exp of the mean of -log p an answer token, over all answer tokens. */
  perplexity: measure,
  /** Nats an answer token more than the base target, mean over dialogues; null for the base itself. */
  change: measure.nullable(),
  dialogues: z.number(),
  /** Dialogues that the model's context cannot hold. */
  excluded: z.number(),
  /** Nats an answer token of each dialogue. */
  nats: z.array(z.number()),
});

/** Of a synthetic world's target, read off it: requests without a key should never alarm and be answered politely. */
const exactUtility = z.strictObject({
  kind: z.literal('exact'),
  /** Mean |P(alarm) - what was intended|. */
  alarmError: measure,
  /** Mean P(the first word of the answer is a polite one). */
  polite: measure,
});

const utility = z.discriminatedUnion('kind', [dialogueUtility, exactUtility]);
export type Utility = z.infer<typeof utility>;

/** Shares of responses that refuse; null values where refusals cannot be told from answers. */
const overRefusal = z.strictObject({ benign: measure, borderline: measure });
export type OverRefusal = z.infer<typeof overRefusal>;

const version = z.strictObject({
  /** `base`, or the attacker whose successes it was tuned on. */
  name: z.string(),
  sha256: z.string(),
  /** Relative to the run folder; the model's own name for the base. */
  model: z.string(),
  /** Successes that it was tuned on; null for the base. */
  successes: z.number().nullable(),
  /** null where `tuning.check.prompts` asks for none. */
  overRefusal: overRefusal.nullable(),
  utility,
  warnings: z.array(z.string()),
});
export type TargetVersion = z.infer<typeof version>;

const cell = z.strictObject({
  attacker: z.string(),
  /** Name of the target's version. */
  target: z.string(),
  /** `replayed`: the attacks that were found against the base; `retrained`: the attacker was trained from scratch against this version. */
  how: z.enum(['replayed', 'retrained']),
  /** `nothing-collected`: smoothing found nothing to learn from, so that there is no attacker to measure. */
  status: z.enum(['done', 'nothing-collected']),
  /** True where the target was tuned on exactly these attacks: the figure is no evidence of resistance. */
  isLearned: z.boolean(),
  judges: z.array(z.strictObject({ name: z.string(), asr: measure, uniqueAttacks: measure })),
});
export type RobustnessCell = z.infer<typeof cell>;

/** `robustness.json`, and the part of report.json of the same name. */
export const robustnessSchema = z.strictObject({
  robustnessVersion: z.literal(ROBUSTNESS_VERSION),
  run: z.string(),
  /** `running`: some cells are missing; the same command fills them. */
  status: z.enum(['running', 'done']),
  /** The judge whose figures count: one that gave no reward where there is one. */
  reportedJudge: z.string(),
  /** Most successes of one attacker that a target was tuned on. */
  successes: z.number(),
  attackers: z.array(z.string()),
  /** Attackers that were also retrained. */
  retrained: z.array(z.string()),
  targets: z.array(version),
  /** Attackers without a success: no target could be tuned on their data. */
  leftOut: z.array(z.strictObject({ data: z.string(), tried: z.number() })),
  cells: z.array(cell),
});
export type Robustness = z.infer<typeof robustnessSchema>;

export function robustnessFolder({ path }: RunFolder): string {
  return join(path, 'robustness');
}

function fileOf(folder: RunFolder): string {
  return join(robustnessFolder(folder), 'robustness.json');
}

/** The matrix of an earlier start; undefined when there is none. @throws FloodgateError `run` when it is damaged. */
export async function readRobustness(folder: RunFolder): Promise<Robustness | undefined> {
  const path = fileOf(folder);
  try {
    return robustnessSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new FloodgateError('run', `read ${path}: it is damaged`, {
      cause,
      hint: 'remove it: tuned targets, answers and attackers are stored elsewhere, and are not made again',
    });
  }
}

/** @throws FloodgateError `store` when the disk refuses. */
export async function writeRobustness(folder: RunFolder, robustness: Robustness): Promise<void> {
  await makePrivateFolder(robustnessFolder(folder));
  await writeFileAtomically(fileOf(folder), (file) => file.writeFile(`${JSON.stringify(robustness, null, 1)}\n`));
}

const INFO_KEY = 'robustness';

/** Stores the matrix in the run database too, where reports find it. */
export function recordRobustness(store: StoreWriter, robustness: Robustness): void {
  store.setInfo(INFO_KEY, JSON.stringify(robustness));
}

/** The matrix in the database; undefined when none was measured. */
export function storedRobustness(store: StoreQueries): Robustness | undefined {
  const text = store.info(INFO_KEY);
  return text === undefined ? undefined : robustnessSchema.parse(JSON.parse(text));
}
