import { describe, expect, it } from 'vitest';
import { redactSecrets } from '../../src/base/errors.ts';
import { checkedProgress } from '../../src/queue/job-result.ts';
import { PROTOCOL } from '../../src/queue/protocol.ts';
import { createSigner, openSigner } from '../../src/queue/signing.ts';

const KEY = 'a key of thirty-two characters...';
const signer = createSigner(KEY);

describe('the signature of a job', () => {
  it('is of its text, whatever the order of its keys', () => {
    const signed = signer.sign('job', { b: 1, a: 'é' });
    expect(signed.payload).toBe('{"a":"é","b":1}');
    expect(signed.mac).toMatch(/^[0-9a-f]{64}$/);
    expect(signer.sign('job', { a: 'é', b: 1 })).toEqual(signed);
    expect(signer.problemOf('job', signed)).toBeUndefined();
  });

  it.each([
    ['another text', (s: { payload: string; mac: string | null }) => ({ ...s, payload: `${s.payload} ` })],
    ['another signature', (s: { payload: string; mac: string | null }) => ({ ...s, mac: 'f'.repeat(64) })],
    ['a shorter signature', (s: { payload: string; mac: string | null }) => ({ ...s, mac: s.mac?.slice(1) ?? null })],
    ['none', (s: { payload: string; mac: string | null }) => ({ ...s, mac: null })],
  ])('refuses a job with %s', (_what, change) => {
    const signed = signer.sign('job', { a: 1 });
    expect(signer.problemOf('job', change(signed))).toMatch(/signed/);
  });

  it('never passes for a result, and a result for no job', () => {
    expect(signer.problemOf('result', signer.sign('job', { a: 1 }))).toMatch(/another key/);
    expect(signer.problemOf('job', signer.sign('result', { a: 1 }))).toMatch(/another key/);
  });

  it('of another key is refused', () => {
    const other = createSigner(`${KEY}!`);
    expect(signer.problemOf('job', other.sign('job', { a: 1 }))).toMatch(/another key/);
  });

  it('is absent without a key, and what is signed is refused then', () => {
    const bare = createSigner(undefined);
    const signed = bare.sign('job', { a: 1 });
    expect(signed.mac).toBeNull();
    expect(bare.problemOf('job', signed)).toBeUndefined();
    expect(bare.problemOf('job', signer.sign('job', { a: 1 }))).toMatch(/no FLOODGATE_QUEUE_KEY/);
    expect(signer.problemOf('job', signed)).toMatch(/not signed/);
  });
});

describe('the key of the environment', () => {
  it('may be absent on this machine alone', () => {
    expect(openSigner(true, {}).hasKey).toBe(false);
    expect(() => openSigner(false, {})).toThrow(/FLOODGATE_QUEUE_KEY is not set/);
    expect(() => openSigner(false, { FLOODGATE_QUEUE_KEY: ' ' })).toThrow(/is not set/);
    expect(openSigner(false, { FLOODGATE_QUEUE_KEY: KEY }).hasKey).toBe(true);
    expect(openSigner(true, { FLOODGATE_QUEUE_KEY: KEY }).hasKey).toBe(true);
  });

  it('is refused when it is short, and is never printed', () => {
    expect(() => openSigner(true, { FLOODGATE_QUEUE_KEY: 'short-key' })).toThrow(/has 9 characters, expected 16/);
    openSigner(false, { FLOODGATE_QUEUE_KEY: KEY });
    expect(redactSecrets(`the key is ${KEY}`)).toBe('the key is [redacted]');
  });
});

describe('the progress of a job', () => {
  const sign = (more: object = {}, by = signer) =>
    by.sign('progress', { version: PROTOCOL, job: 'job-1', line: 'sft 3/8 updates', ...more });

  it('is one line of that job, cut where it is long', () => {
    expect(checkedProgress('job-1', sign(), signer)).toBe('sft 3/8 updates');
    expect(checkedProgress('job-1', sign({ line: 'x'.repeat(1000) }), signer)).toHaveLength(300);
  });

  it.each([
    ['another job', sign({ job: 'job-2' })],
    ['another key', sign({}, createSigner(`${KEY}!`))],
    ['no key', sign({}, createSigner(undefined))],
    ['another version', sign({ version: 0 })],
    ['another purpose', signer.sign('result', { version: PROTOCOL, job: 'job-1', line: 'x' })],
  ])('is nothing where it is of %s', (_, signed) => {
    expect(checkedProgress('job-1', signed, signer)).toBeUndefined();
  });
});
