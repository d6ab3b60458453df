import { readFileSync } from 'node:fs';
import { validateXML } from 'xmllint-wasm';

const schema = readFileSync(new URL('./junit.xsd', import.meta.url), 'utf8');

const countOf = (text: string, markup: string): number => text.split(markup).length - 1;

/** Suites whose counts differ from their cases; markup in texts is escaped, so it is not counted. */
function countErrors(xml: string): string[] {
  return xml
    .split('<testsuite ')
    .slice(1)
    .flatMap((suite, i) => {
      const said = ['tests', 'failures', 'errors', 'skipped'].map((name) =>
        Number(new RegExp(` ${name}="(\\d+)"`).exec(suite)?.[1]),
      );
      const found = ['<testcase ', '<failure ', '<error ', '<skipped '].map((markup) => countOf(suite, markup));
      return said.join() === found.join() ? [] : [`suite ${i} says ${said.join()} and holds ${found.join()}`];
    });
}

/** Errors of a JUnit file by the schema beside this file, and by its counts; empty for a valid one. */
export async function junitErrors(xml: string): Promise<string[]> {
  const { errors } = await validateXML({
    xml: [{ fileName: 'results.xml', contents: xml }],
    schema: [{ fileName: 'junit.xsd', contents: schema }],
  });
  return [...errors.map(({ message }) => message), ...countErrors(xml)];
}
