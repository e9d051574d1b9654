import { type Duration, durationMs, show } from '../../distributed-lock.duration.js';
import { LockConfigurationError } from '../../distributed-lock.errors.js';
import type { StoreTraits } from '../../store/lock-store.js';
import { checkClause, contractOf, titleOf } from './contract.js';
import type { StoreWorld } from './store-world.js';

/** Declares a group of tests, as every test runner's `describe` does. */
export type DescribeFunction = (title: string, body: () => void) => unknown;

/** Declares a test, as every test runner's `it` or `test` does; runners that know no third argument ignore it. */
export type TestFunction = (title: string, body: () => Promise<void>, timeoutMs: number) => unknown;

/** Options of {@link runContract}. */
export interface ContractOptions {
  /** Of the store, in the titles. */
  readonly name: string;
  /** What the store promises: decides which clauses apply, and has to be what its stores say. */
  readonly traits: StoreTraits;
  /** A world of its own for each clause; {@link storeWorld} makes one. */
  readonly open: () => StoreWorld | Promise<StoreWorld>;
  /** How long a clause may take before it has failed. At least 1 s. Default `'30s'`: the longest wait in a clause is 20 s. */
  readonly timeout?: Duration;
  /** Default: the global `describe`. */
  readonly describe?: DescribeFunction;
  /** Default: the global `it`, or else `test`. */
  readonly it?: TestFunction;
}

const SHORTEST_TIMEOUT_MS = 1_000;
/** For opening and closing a world. */
const AROUND_A_CLAUSE_MS = 15_000;

/**
 * Declares one test for each clause of the store contract that the traits promise, with the test runner in use: Vitest, Jest, Mocha, `node:test`.
 *
 * Each test opens a world, checks its clause, and closes the world, whether it passed or not. What the contract asks for:
 * `docs/writing-a-store.md`.
 *
 * ```typescript
 * import { describe, it } from 'node:test';
 *
 * runContract({ name: 'mine', traits: myStore().traits, open: () => storeWorld(() => myStore()), describe, it });
 * ```
 *
 * @throws {LockConfigurationError} naming the option, the value and what is allowed; also where the runner has no globals and none were passed.
 */
export function runContract(options: ContractOptions): void {
  const { name, traits, open } = options;
  const timeoutMs = durationMs('timeout', options.timeout ?? '30s', SHORTEST_TIMEOUT_MS);
  const globals = globalThis as { describe?: unknown; it?: unknown; test?: unknown };
  const describe = runnerFunction('describe', options.describe ?? globals.describe);
  const it = runnerFunction('it', options.it ?? globals.it ?? globals.test);
  describe(`contract: ${name}`, () => {
    for (const clause of contractOf(traits)) {
      const check = async (): Promise<void> => checkClause(clause, await open(), traits, timeoutMs);
      it(titleOf(clause), check, timeoutMs + AROUND_A_CLAUSE_MS);
    }
  });
}

function runnerFunction<Name extends 'describe' | 'it'>(
  option: Name,
  given: unknown,
): Required<ContractOptions>[Name] {
  if (typeof given === 'function') return given as Required<ContractOptions>[Name];
  throw new LockConfigurationError(
    `Option "${option}" of runContract is ${show(given)}; allowed: the function of that name of your test runner, which may be left out where it is global.`,
  );
}
