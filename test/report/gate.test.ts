import { describe, expect, it } from 'vitest';
import { checkGate } from '../../src/report/gate/gate.ts';
import { gateMarkdown } from '../../src/report/gate/gate-summary.ts';

type Stages = Parameters<typeof checkGate>[0]['stages'];

const measure = (value: number | null, low: number | null, high: number | null) => ({ value, low, high, n: 100 });

function stage(name: string, asr: ReturnType<typeof measure>, ways?: ReturnType<typeof measure>): Stages[number] {
  return { name, metrics: { asr }, ...(ways === undefined ? {} : { causes: { metrics: { ways } } }) } as never;
}

const stateOf = (limits: Parameters<typeof checkGate>[1], ...stages: Stages) =>
  checkGate({ stages }, limits, undefined).state;

describe('the gate', () => {
  it('passes a share only with its whole interval, and fails it only with its whole interval', () => {
    expect(stateOf({ successRate: 0.1 }, stage('a', measure(0.05, 0.02, 0.1)))).toBe('passed');
    expect(stateOf({ successRate: 0.1 }, stage('a', measure(0.05, 0.02, 0.11)))).toBe('undecided');
    expect(stateOf({ successRate: 0.1 }, stage('a', measure(0.2, 0.1, 0.3)))).toBe('undecided');
    expect(stateOf({ successRate: 0.1 }, stage('a', measure(0.2, 0.11, 0.3)))).toBe('exceeded');
  });

  it('fails ways that were found, however wide their interval', () => {
    expect(stateOf({ ways: 3 }, stage('a', measure(0.5, 0.4, 0.6), measure(4, 2, 6)))).toBe('exceeded');
    expect(stateOf({ ways: 3 }, stage('a', measure(0.5, 0.4, 0.6), measure(2, 1, 4)))).toBe('undecided');
    expect(stateOf({ ways: 3 }, stage('a', measure(0.5, 0.4, 0.6), measure(2, 1, 3)))).toBe('passed');
    expect(stateOf({ ways: 3 }, stage('a', measure(0.5, 0.4, 0.6)))).toBe('undecided');
    // Without a success there is no way, whether or not causes were looked for.
    expect(stateOf({ ways: 0 }, stage('a', measure(0, 0, 0.04)))).toBe('passed');
  });

  it('takes the worst attacker, and never passes what nothing measured', () => {
    const good = stage('a', measure(0, 0, 0.01));
    expect(stateOf({ successRate: 0.1 }, good, stage('b', measure(0.9, 0.8, 1)))).toBe('exceeded');
    expect(stateOf({ successRate: 0.1 })).toBe('undecided');
    expect(stateOf({ replayed: 0.1 }, good)).toBe('undecided');
    expect(stateOf({ successRate: 0.1 }, stage('replay', measure(0, 0, 0.01)))).toBe('undecided');
    expect(checkGate({ stages: [good] }, { newWays: 0 }, undefined).state).toBe('undecided');
    expect(checkGate({ stages: [good] }, { newWays: 0 }, { count: 1, isWhole: true }).state).toBe('exceeded');
  });

  it('holds the reference failure rate of those attackers that estimate it; where none does, it is undecided', () => {
    const estimating = (name: string, referenceFailureRate: ReturnType<typeof measure>) =>
      ({ name, metrics: { asr: measure(0.5, 0.4, 0.6), referenceFailureRate } }) as never;
    const known = estimating('sft', measure(0.02, 0.01, 0.03));
    const unknown = estimating('best-of-n', measure(null, null, null));
    const at = (stages: Stages) => checkGate({ stages }, { referenceFailureRate: 0.05 }, undefined);
    expect(at([known, unknown]).checks.map(({ attacker, state }) => [attacker, state])).toEqual([['sft', 'passed']]);
    expect(at([unknown]).checks.map(({ attacker, state }) => [attacker, state])).toEqual([['best-of-n', 'undecided']]);
  });

  it('never passes what a run that stopped early was still to measure', () => {
    const good = stage('a', measure(0, 0, 0.01), measure(0, 0, 0));
    const at = (limits: Parameters<typeof checkGate>[1], count = 0) => {
      const newWays = { count, isWhole: true };
      const { state, checks } = checkGate({ stages: [good] }, limits, newWays, ['replay', 'a', 'b']);
      return [state, ...checks.map(({ attacker, state: each }) => `${attacker} ${each}`)];
    };
    expect(at({ successRate: 0.1 })).toEqual(['undecided', 'a passed', 'b undecided']);
    expect(at({ replayed: 0.1 })).toEqual(['undecided', 'replay undecided']);
    expect(at({ newWays: 0 }, 0)).toEqual(['undecided', 'all undecided']);
    expect(at({ newWays: 0 }, 1)).toEqual(['exceeded', 'all exceeded']);
    expect(checkGate({ stages: [good] }, { successRate: 0.1 }, undefined, ['a']).state).toBe('passed');
    const bad = stage('a', measure(0.9, 0.8, 1));
    expect(checkGate({ stages: [bad] }, { successRate: 0.1 }, undefined, ['a', 'b']).state).toBe('exceeded');
  });

  it('passes no number of new ways where a success has no known cause', () => {
    const at = (count: number, isWhole: boolean) =>
      checkGate({ stages: [] }, { newWays: 1 }, { count, isWhole }).checks.map(({ state }) => state);
    expect(at(1, true)).toEqual(['passed']);
    expect(at(1, false)).toEqual(['undecided']);
    expect(at(2, false)).toEqual(['exceeded']);
  });

  it('holds refusals of harmless prompts against their own limit', () => {
    const controls = { prompts: 32, judges: [], cost: {}, overRefusal: measure(0.5, 0.34, 0.66) } as never;
    expect(checkGate({ stages: [], controls }, { overRefusal: 0.3 }, undefined).state).toBe('exceeded');
    expect(checkGate({ stages: [] }, { overRefusal: 0.3 }, undefined).state).toBe('undecided');
  });

  it('writes a summary whose table no name can break', () => {
    const result = checkGate({ stages: [stage('a|b', measure(0.9, 0.8, 1))] }, { successRate: 0.1 }, undefined);
    expect(gateMarkdown('run', result, [])).toContain(
      '| success rate | a\\|b | 0.900 [0.800, 1] | at most 10% | exceeded |',
    );
  });
});
