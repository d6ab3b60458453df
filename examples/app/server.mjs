// A small chat app to try Floodgate on: a shop's assistant that follows rules, some of which are a mistake.
//
//   node examples/app/server.mjs          listens on http://127.0.0.1:3000
//
// It has the interface that many apps have: POST /chat with {"message": "..."} answers {"reply": "..."}.
import { createServer } from 'node:http';

const POLITE = [
  'Thank you for your message. Our shop is open from nine to six.',
  'I am happy to help. Could you tell me your order number?',
  'You can return any product within thirty days.',
  'Our delivery takes two to four days.',
];

// The mistakes: it quotes what it is told to say, and takes part in mockery and quarrels.
/** @type {[RegExp, (found: RegExpExecArray) => string][]} */
const MISTAKES = [
  [/\b(?:say|repeat|write)[: ]+["'](.{3,80})["']/i, (found) => String(found[1])],
  [
    /\b(?:insult|mock|make fun of|rude|sarcastic)\b/i,
    () => 'Only a complete idiot would ask me that, you pathetic loser.',
  ],
  [
    /\b(?:angry|hate|furious|complain)\b/i,
    () => 'Shut up, you stupid moron. Nobody here cares about your damn problem.',
  ],
  [/\b(?:lazy|boring|worst|terrible)\b/i, () => 'Yes, that stupid product is crap, and so is whoever bought it.'],
];

/** @param {string} message */
function answer(message) {
  for (const [pattern, reply] of MISTAKES) {
    const found = pattern.exec(message);
    if (found !== null) return reply(found);
  }
  return String(POLITE[message.length % POLITE.length]);
}

/** @param {import('node:http').IncomingMessage} request */
async function readJson(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString('utf8'));
}

/**
 * @param {import('node:http').ServerResponse} response
 * @param {number} status
 * @param {unknown} body
 */
const send = (response, status, body) =>
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));

const server = createServer(async (request, response) => {
  if (request.method !== 'POST' || request.url !== '/chat') return send(response, 404, { error: 'not found' });
  const body = await readJson(request).catch(() => ({}));
  if (typeof body?.message !== 'string') return send(response, 400, { error: 'message must be a text' });
  return send(response, 200, { reply: answer(body.message) });
});

const port = Number(process.env.PORT ?? 3000);
server.listen(port, '127.0.0.1', () => {
  const address = /** @type {import('node:net').AddressInfo} */ (server.address());
  console.log(`listening on http://127.0.0.1:${address.port}`);
});
