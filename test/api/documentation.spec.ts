import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

interface Block {
  readonly page: string;
  readonly line: number;
  /** `<!-- from: FILE -->` above the block: the code stands in that file, to the letter. */
  readonly from: string | null;
  readonly code: string;
}

function pages(): readonly string[] {
  const docs = readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' });
  return [
    'README.md',
    ...docs.filter((name) => name.endsWith('.md')).map((name) => join('docs', name)),
  ];
}

function blocksOf(page: string): readonly Block[] {
  const text = readFileSync(join(root, page), 'utf8');
  return [...text.matchAll(/(?:<!-- from: (\S+) -->\n+)?```ts\n([\s\S]*?)```/g)].map((match) => ({
    page,
    line: text.slice(0, match.index).split('\n').length,
    from: match[1] ?? null,
    code: match[2]!,
  }));
}

const blocks = pages().flatMap(blocksOf);

/** Compiles pieces of text as if they were files of this project. */
function errorsIn(sources: ReadonlyMap<string, string>): readonly string[] {
  const config = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile).config as object;
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
  Object.assign(options, { noUnusedLocals: false, noUnusedParameters: false });
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists, readFile } = host;
  host.getSourceFile = (name, ...rest) => {
    const text = sources.get(name);
    return text === undefined
      ? getSourceFile.call(host, name, ...rest)
      : ts.createSourceFile(name, text, ts.ScriptTarget.ES2023);
  };
  host.fileExists = (name) => sources.has(name) || fileExists.call(host, name);
  host.readFile = (name) => sources.get(name) ?? readFile.call(host, name);
  const program = ts.createProgram([...sources.keys()], options, host);
  return [...sources.keys()].flatMap((name) =>
    ts
      .getPreEmitDiagnostics(program, program.getSourceFile(name))
      .map(
        (found) =>
          `${relative(root, name)}: ${ts.flattenDiagnosticMessageText(found.messageText, '\n')}`,
      ),
  );
}

const nameOf = (block: Block, index: number): string =>
  join(root, 'test', 'api', `${block.page.replaceAll(/\W/g, '_')}_line_${block.line}_${index}.ts`);

// A block marked `typescript` in place of `ts` is a sketch: not compiled.
describe('the code of README and docs', () => {
  it('compiles against the public doors', { timeout: 60_000 }, () => {
    const standalone = blocks.filter((block) => block.from === null);
    expect(standalone.length).toBeGreaterThan(0);
    const sources = new Map(standalone.map((block, index) => [nameOf(block, index), block.code]));
    expect(errorsIn(sources)).toEqual([]);
  });

  it('would not compile with a name that does not exist', { timeout: 60_000 }, () => {
    const name = join(root, 'test', 'api', 'control.ts');
    const wrong = "import { noSuchThing } from 'nestjs-distributed-lock';\nnoSuchThing();\n";
    expect(errorsIn(new Map([[name, wrong]]))).toHaveLength(1);
  });

  it('stands in the example where it says so', () => {
    const quoted = blocks.filter((block) => block.from !== null);
    expect(quoted.length).toBeGreaterThan(0);
    for (const { from, code } of quoted) {
      expect(readFileSync(join(root, from!), 'utf8')).toContain(code);
    }
  });
});
