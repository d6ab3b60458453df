import path from 'node:path';
import { openCallLog } from '../../src/runs/store/call-log.ts';
import { createTinyCampaign, placeOfTiny } from '../stages/tiny-campaign.ts';
import { createWholeRun, type WholeRun } from '../stages/whole-run.ts';
import { builtProgram } from '../support/compiled-source.ts';
import { withSlowTarget } from './fault-run.ts';

/** The calls of a run, as its log holds them. */
export interface LoggedCalls {
  /** Answers and verdicts that are kept. */
  readonly size: number;
  /** Calls of the target that were counted. */
  readonly paid: number;
  readonly unanswered: number;
}

/** A tiny campaign whose target is slow, and its run that no fault met. */
export interface FaultCampaign {
  readonly whole: WholeRun;
  /** Of that run (`whole`), or of another one in its place. */
  callsOf(name: string): LoggedCalls;
  remove(): Promise<void>;
}

/** @param overrides settings of every run, beside those of the slow target. */
export async function createFaultCampaign(overrides: readonly string[]): Promise<FaultCampaign> {
  const tiny = await createTinyCampaign();
  process.env.CALLS = path.join(tiny.folder, 'whole.calls');
  process.env.DELAY_MS = '0';
  const whole = await createWholeRun(withSlowTarget(placeOfTiny(tiny, builtProgram()), overrides));
  return {
    whole,
    callsOf: (name) => {
      const log = openCallLog(path.join(whole.pathOf(name), 'calls.db'));
      const { size, spent, unanswered } = log;
      log.close();
      return { size, paid: spent.targetCalls, unanswered: unanswered.targetCalls };
    },
    remove: () => tiny.remove(),
  };
}
