import { readFileSync } from 'node:fs';
import path from 'node:path';
import { createChatTemplate } from '../../../src/models/tokenizer/chat-template.ts';
import { mutateBytes } from '../byte-mutation.ts';
import { type FuzzInput, type FuzzTarget, pick } from '../fuzz-target.ts';
import { anyTemplate } from '../template-grammar.ts';

const MESSAGES = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'The cat\'s 12 hats, "été" 日本 😀 {{ x }}\u0000' },
  { role: 'assistant', content: 'Yes.' },
  { role: 'user', content: '' },
] as const;

/** Folders of fixtures whose tokenizer_config.json holds a template. */
const TEMPLATES: readonly string[] = ['tokenizers/qwen2-like', 'tokenizers/llama3-like', 'models/smollm2'];

/** Chat templates: those of models with bytes changed, and templates over Jinja's grammar. */
export function createChatTemplateTarget(root: string): FuzzTarget {
  const corpus = TEMPLATES.map((place) => {
    const file = path.join(root, 'test/fixtures', place, 'tokenizer_config.json');
    const { chat_template: template } = JSON.parse(readFileSync(file, 'utf8')) as { chat_template: string };
    return Buffer.from(template);
  });
  return {
    name: 'chat-template',
    codes: ['format'],
    // Rendering may take 256 MiB in all, garbage included (`template-meter.ts`).
    baseBytes: 288 * 1024 * 1024,
    make: (stream): FuzzInput => {
      const bytes =
        stream.nextInt(5) === 0 ? mutateBytes(pick(stream, corpus), stream) : Buffer.from(anyTemplate(stream));
      return { bytes, variant: stream.nextInt(2) };
    },
    parse: async ({ bytes, variant }) => {
      const template = createChatTemplate(bytes.toString('utf8'), { bos_token: '<s>', eos_token: '</s>' });
      template.render(MESSAGES, { addGenerationPrompt: variant === 1 });
    },
  };
}
