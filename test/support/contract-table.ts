import type { Reporter, TestCase, TestModule } from 'vitest/node';

const SUITE = /^contract: (.+)$/;

/** Of one store: results by title of the clause, over all its variants (`redis, wake: 'poll'` is one of redis). */
type Results = Map<string, TestCase[]>;

/** At the end of a run: store × clause of both contracts. `·` is a clause that the store's traits do not promise. */
export default class ContractTable implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const stores = new Map<string, Results>();
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const variant =
          test.parent.type === 'suite' ? SUITE.exec(test.parent.name)?.[1] : undefined;
        if (variant === undefined) continue;
        const store = /^\w+/.exec(variant)![0];
        const results: Results = stores.get(store) ?? new Map();
        stores.set(store, results);
        results.set(test.name, [...(results.get(test.name) ?? []), test]);
      }
    }
    if (stores.size > 0) process.stdout.write(`\n${table(stores)}\n\n`);
  }
}

function table(stores: ReadonlyMap<string, Results>): string {
  const names = [...stores.keys()].toSorted();
  const titles = [...new Set(names.flatMap((name) => [...stores.get(name)!.keys()]))];
  const clauses = titles.toSorted((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10));
  const letter = (index: number): string => String.fromCodePoint(97 + index);
  const rows = clauses.map((clause) => {
    const marks = names.map((name) => mark(stores.get(name)!.get(clause) ?? []));
    return `  ${marks.join(' ')}  ${clause}`;
  });
  return [
    'The store contract, over all variants of a store (✓ passed, ✗ failed, ? not run, · not promised by the traits):',
    ...names.map((name, index) => `  ${letter(index)} = ${name}`),
    `  ${names.map((_, index) => letter(index)).join(' ')}`,
    ...rows,
  ].join('\n');
}

function mark(tests: readonly TestCase[]): string {
  const states = tests.map((test) => test.result().state);
  if (states.includes('failed')) return '✗';
  if (states.includes('passed')) return '✓';
  return states.length === 0 ? '·' : '?';
}
