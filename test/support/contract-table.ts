import type { Reporter, TestCase, TestModule } from 'vitest/node';

const SUITE = /^contract: (.+)$/;
const MARKS = { passed: '✓', failed: '✗', skipped: '?', pending: '?' } as const;

/** At the end of a run: store × clause of the contract. `·` is a clause that the store's traits do not promise. */
export default class ContractTable implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const stores = new Map<string, Map<string, TestCase>>();
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const store = test.parent.type === 'suite' ? SUITE.exec(test.parent.name)?.[1] : undefined;
        if (store === undefined) continue;
        const clauses = stores.get(store) ?? new Map<string, TestCase>();
        stores.set(store, clauses.set(test.name, test));
      }
    }
    if (stores.size > 0) process.stdout.write(`\n${table(stores)}\n\n`);
  }
}

function table(stores: ReadonlyMap<string, ReadonlyMap<string, TestCase>>): string {
  const names = [...stores.keys()].toSorted();
  const clauses = [...new Set(names.flatMap((name) => [...stores.get(name)!.keys()]))];
  const letter = (index: number): string => String.fromCodePoint(97 + index);
  const rows = clauses.map((clause) => {
    const marks = names.map((name) => {
      const test = stores.get(name)!.get(clause);
      return test ? MARKS[test.result().state] : '·';
    });
    return `  ${marks.join(' ')}  ${clause}`;
  });
  return [
    'The store contract (✓ passed, ✗ failed, · not promised by the traits):',
    ...names.map((name, index) => `  ${letter(index)} = ${name}`),
    `  ${names.map((_, index) => letter(index)).join(' ')}`,
    ...rows,
  ].join('\n');
}
