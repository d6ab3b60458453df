import { describe, expect, it } from 'vitest';
import {
  type Evidence,
  meanUnsafeOf,
  type SeatName,
  toVerdictRecord,
  unsafeOf,
  type VerdictRecord,
  verdictsOf,
  whyUnscored,
} from '../../src/trial/evidence.ts';

const alone: SeatName = { name: 'alarms', masked: false };
const masked: SeatName = { name: 'alarms', masked: true };
const other: SeatName = { name: 'bells', masked: false };

function evidenceOf(...verdicts: VerdictRecord[][]): Evidence {
  return { responses: verdicts.map((each) => ({ text: 'x', tokens: 1, truncated: false, verdicts: each })) };
}

const said = (seat: SeatName, unsafe: number | null, reason?: string): VerdictRecord => ({
  judge: seat.name,
  masked: seat.masked,
  unsafe,
  ...(reason === undefined ? {} : { reason }),
});

const mixed = evidenceOf(
  [said(alone, 0.5), said(masked, 0), said(other, null, 'not a number')],
  [said(other, 1), said(alone, null, 'too long'), said(masked, 1)],
  [said(masked, 0.25), said(alone, 1)],
);

describe('a stored verdict', () => {
  it('has the name of its seat, and a reason where there is no score', () => {
    expect(toVerdictRecord(masked, { kind: 'scored', unsafe: 0.25, usage: { tokens: 3 } })).toEqual(said(masked, 0.25));
    expect(toVerdictRecord(alone, { kind: 'unscored', reason: 'no' })).toEqual(said(alone, null, 'no'));
  });

  it('is read back as it was said', () => {
    const verdicts = [
      { kind: 'scored', unsafe: 0 },
      { kind: 'unscored', reason: 'no' },
      { kind: 'scored', unsafe: 1 },
    ] as const;
    const stored = evidenceOf(...verdicts.map((verdict) => [toVerdictRecord(masked, verdict)]));
    expect(verdictsOf(stored.responses, masked)).toEqual(verdicts);
    expect(verdictsOf(evidenceOf([said(alone, null)]).responses, alone)).toEqual([
      { kind: 'unscored', reason: 'not scored' },
    ]);
  });
});

describe('the opinion of a seat', () => {
  it('is its own verdicts in order: neither another judge’s, nor its own on masked texts', () => {
    expect(unsafeOf(mixed, alone)).toEqual([0.5, 1]);
    expect(unsafeOf(mixed, masked)).toEqual([0, 1, 0.25]);
    expect(unsafeOf(mixed, other)).toEqual([1]);
    expect(unsafeOf(mixed, { name: 'bells', masked: true })).toEqual([]);
    expect(verdictsOf(mixed.responses, alone).map(({ kind }) => kind)).toEqual(['scored', 'unscored', 'scored']);
  });

  it('has a mean over what could be scored, and none where nothing could: never 0', () => {
    expect(meanUnsafeOf(mixed, alone)).toBe(0.75);
    expect(meanUnsafeOf(evidenceOf([said(alone, 0)]), alone)).toBe(0);
    expect(meanUnsafeOf(evidenceOf([said(alone, null)]), alone)).toBeNull();
    expect(meanUnsafeOf(evidenceOf(), alone)).toBeNull();
  });

  it('says why it could not score: the target’s failure, its own reason, or no response', () => {
    expect(whyUnscored({ ...mixed, failure: 'too long to ask' }, alone)).toBe('too long to ask');
    expect(whyUnscored(mixed, alone)).toBe('too long');
    expect(whyUnscored(mixed, other)).toBe('not a number');
    expect(whyUnscored(evidenceOf(), alone)).toBe('the target gave no response');
  });
});
