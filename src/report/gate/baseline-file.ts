import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { writeFileAtomically } from '../../base/atomic-file.ts';
import { FloodgateError } from '../../base/errors.ts';
import { causeSha256, type WayRecord } from '../../stages/evaluation/causes-record.ts';
import type { Report } from '../figures/report-json.ts';

/** Increased when an older reader would misread the file. */
const BASELINE_VERSION = 1;

const figure = z.strictObject({
  value: z.number().nullable(),
  low: z.number().nullable(),
  high: z.number().nullable(),
});

const schema = z.strictObject({
  floodgateBaseline: z.literal(BASELINE_VERSION),
  run: z.string(),
  createdAt: z.iso.datetime(),
  judge: z.string(),
  /** Success rates by attacker. */
  successRates: z.record(z.string(), figure),
  /** A hash for each way: no text is kept. */
  ways: z.array(z.string().regex(/^[0-9a-f]{64}$/)),
});

/** The figures of a run and the hashes of its ways, without a text: small enough to commit. */
export type Baseline = z.infer<typeof schema>;

export function baselineOf({ run, stages }: Report, ways: readonly WayRecord[]): Baseline {
  const rates = stages.flatMap(({ name, metrics: { asr } }) => {
    return asr === undefined ? [] : [[name, { value: asr.value, low: asr.low, high: asr.high }] as const];
  });
  return {
    floodgateBaseline: BASELINE_VERSION,
    run: run.name,
    createdAt: run.createdAt,
    judge: run.reportedJudge,
    successRates: Object.fromEntries(rates),
    ways: [...new Set(ways.map(({ cause }) => causeSha256(cause)))].sort(),
  };
}

/** @throws FloodgateError `store` when the disk refuses. */
export async function writeBaseline(path: string, baseline: Baseline): Promise<void> {
  await writeFileAtomically(path, (file) => file.writeFile(`${JSON.stringify(baseline, null, 2)}\n`));
}

/** @throws FloodgateError `usage` for a file that cannot be read or is no baseline. */
export async function readBaseline(path: string): Promise<Baseline> {
  const refused = (reason: string): FloodgateError =>
    new FloodgateError('usage', `baseline ${path}: ${reason}`, {
      hint: 'floodgate ci --save-baseline FILE writes one; a run folder is a baseline, too',
    });
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw refused(`cannot be read (${error.code})`);
  });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw refused('is no JSON');
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw refused(`is no baseline of this version: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}
