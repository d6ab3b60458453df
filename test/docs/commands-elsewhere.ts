import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { root } from './doc-blocks.ts';
import { programOf } from './parsed-command.ts';

interface ExampleCommand {
  readonly place: string;
  readonly line: string;
}

/** The commands of ours in the YAML files of the examples: in their comments, and in the scripts of the pipelines. */
export function exampleCommands(): ExampleCommand[] {
  const files = readdirSync(join(root, 'examples'), { recursive: true, encoding: 'utf8' });
  return files
    .filter((name) => /\.ya?ml$/.test(name))
    .flatMap((name) => {
      const text = readFileSync(join(root, 'examples', name), 'utf8').replace(/\\\n\s*/g, '');
      const found = [...text.matchAll(/^# {2,}(floodgate .*)$|(npx floodgate [^|\n]*)/gm)];
      return found.map(({ 1: comment, 2: script = '' }) => ({
        place: `examples/${name}`,
        // A variable of a pipeline that is empty, or two words.
        line: comment ?? script.replace(/"\$\{baseline\[@\]\}"|\$baseline/, '--baseline run:baseline'),
      }));
    });
}

const FENCED = /^ *(`{3,})[\s\S]*?^ *\1$/gm;
const SPAN = /(?<!`)`(?:npx )?(floodgate|npm run lab --) ([^`]+)`(?!`)/g;

/** Names of commands and options that a mention uses, and that its program lacks. Placeholders of arguments are free. */
function unknownNames(program: Command, mention: string): string[] {
  let command = program;
  const words = mention.split(/[\s|[\]=]+/).filter((word) => word !== '');
  for (const word of words) {
    const next = command.commands.find((each) => each.name() === word);
    if (next === undefined) break;
    command = next;
  }
  const isCommand = command !== program || /^(?:--|[^a-z])/.test(words[0] ?? '');
  const known = [...command.options, ...program.options].map(({ long }) => long);
  const options = words.filter((word) => /^--[a-z]/.test(word) && word !== '--help' && !known.includes(word));
  return [...(isCommand ? [] : [words[0] ?? '']), ...options];
}

/** The commands that the text of a document mentions outside blocks, each with what its program does not know. */
export async function inlineMentions(markdown: string) {
  const programs = { floodgate: await programOf('floodgate'), 'npm run lab --': await programOf('lab') };
  return [...markdown.replace(FENCED, '').matchAll(SPAN)].map(([span, name, rest = '']) => ({
    span: span.replace(/\s+/g, ' '),
    unknown: unknownNames(programs[name as keyof typeof programs], rest),
  }));
}
