import { expect, test } from 'vitest';
import { hostsNamed } from '../../src/wire/wire-fields.ts';

test('finds the host of every judge that is asked over the wire, also inside another judge, each once', () => {
  const rubric = (baseUrl: string) => ({ kind: 'rubric', baseUrl, model: 'm' });
  const judges = {
    training: { kind: 'masked', judge: rubric('http://127.0.0.1:8000/v1') },
    evaluation: [{ kind: 'profanity' }, rubric('https://judge.example/v1'), rubric('https://judge.example/other')],
  };
  expect(hostsNamed(judges)).toEqual(['127.0.0.1:8000', 'judge.example']);
  expect(hostsNamed({ training: { kind: 'profanity' }, baseUrl: 'no address' })).toEqual([]);
  expect(hostsNamed(undefined)).toEqual([]);
});
