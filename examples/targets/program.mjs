// A target of kind `command`: one JSON object a line in, one a line out. Any language does.
import { createInterface } from 'node:readline';

for await (const line of createInterface({ input: process.stdin })) {
  const { id, attack } = JSON.parse(line);
  const answer = attack.includes('password')
    ? { id, refused: 'asks for a password' }
    : { id, text: `You wrote ${attack.length} characters.`, usage: { tokens: 5 } };
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
