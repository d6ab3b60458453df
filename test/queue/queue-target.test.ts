import { expect, it } from 'vitest';
import { ComeAnswers } from '../../src/queue/come-answers.ts';
import { createQueueTarget, type QueueTargetParts } from '../../src/queue/queue-target.ts';

const text = (each: string) => {
  return { kind: 'text', text: each, truncated: false, usage: { calls: 1, tokens: 1 } } as const;
};

it('hands over the answers of a job together, before Redis may forget them', async () => {
  const seen: string[] = [];
  const jobs = {
    submit: async () => ({
      worker: 'w',
      outcome: { kind: 'answers', answers: [text('one'), text('two')], verdicts: [] },
      release: () => void seen.push('forgotten'),
    }),
  };
  const parts = {
    jobs,
    run: 'r',
    description: {},
    part: {},
    opened: { name: 'own', facts: {} },
    judges: [],
    verdicts: { come: () => undefined },
    answers: new ComeAnswers(),
    jobsAtOnce: 1,
  };
  const target = createQueueTarget(parts as unknown as QueueTargetParts);
  await target.ask([{ attack: 'a', streamName: ['test'] }], {
    responses: 2,
    decode: { temperature: 1, topP: 1, topK: 0, maxNewTokens: 8 },
    watch: {
      admit: async () => () => undefined,
      arrived: (come) => void seen.push(`${come.length} answers`),
    },
  });
  await target.close();
  expect(seen).toEqual(['2 answers', 'forgotten']);
});
