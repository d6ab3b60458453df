import { describe, expect, it } from 'vitest';
import { createRemoteTarget, failedAnswer } from '../../src/targets/remote-target.ts';
import type { TargetAnswer } from '../../src/targets/target.ts';
import { BegunCalls, type Unanswered } from '../../src/trial/call-log.ts';

/** The count that a call log keeps, in memory. */
function countOf() {
  let open = 0;
  const begun = new BegunCalls(
    {
      begin: ({ targetCalls = 0 }) => {
        open += targetCalls;
      },
      answered: ({ targetCalls = 0 }) => {
        open -= targetCalls;
      },
    },
    'targetCalls',
  );
  const store = ({ targetCalls = 0 }: Partial<Unanswered>): void => {
    open -= targetCalls;
  };
  return { begun, cameAndStored: () => store(begun.came()), open: () => open };
}

describe('calls that have begun', () => {
  it('are counted when their answers are stored, and not again at their end', () => {
    const { begun, cameAndStored, open } = countOf();
    const end = begun.begin(2);
    cameAndStored();
    expect(open()).toBe(1);
    cameAndStored();
    expect(open()).toBe(0);
    end();
    end();
    expect(open()).toBe(0);
  });

  it('are counted at their end when the same answers take further calls', () => {
    const { begun, cameAndStored, open } = countOf();
    begun.begin(2)();
    expect(open(), 'a request for two that the server refused').toBe(0);
    const ends = [begun.begin(1), begun.begin(1)];
    cameAndStored();
    cameAndStored();
    for (const end of ends) end();
    expect(open()).toBe(0);
  });

  it('that are broken off stay in the count, less the answers that came', () => {
    const { begun, cameAndStored, open } = countOf();
    const [broken, whole] = [begun.begin(2), begun.begin(1)];
    cameAndStored();
    broken(true);
    cameAndStored();
    whole();
    expect(open()).toBe(1);
  });
});

describe('a target that answers from elsewhere', () => {
  it('hands an answer over, ends its call and only then begins the next, also when a call fails', async () => {
    const order: string[] = [];
    const target = createRemoteTarget({
      name: 'test',
      concurrency: 1,
      answer: async (request, { limiter, signal }): Promise<TargetAnswer[]> => {
        try {
          await limiter.run(async () => {
            await new Promise((resolve) => setTimeout(resolve, 1));
            if (request.attack === 'fails') throw new Error('no answer');
          }, signal);
          return [{ kind: 'text', text: 'yes', truncated: false, usage: { calls: 1, tokens: 1 } }];
        } catch {
          return [failedAnswer('no answer')];
        }
      },
      release: () => Promise.resolve(),
    });
    await target.ask(
      ['one', 'fails', 'three'].map((attack, i) => ({ attack, streamName: ['test', i] })),
      {
        responses: 1,
        decode: { temperature: 1, topP: 1, topK: 0, maxNewTokens: 8 },
        watch: {
          admit: async (_, request) => {
            order.push(`begin ${request}`);
            return () => order.push(`end ${request}`);
          },
          arrived: (answers, request) => order.push(...answers.map(() => `answer ${request}`)),
        },
      },
    );
    await target.close();
    expect(order).toEqual([0, 1, 2].flatMap((i) => [`begin ${i}`, `answer ${i}`, `end ${i}`]));
  });
});
