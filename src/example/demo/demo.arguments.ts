import { parseArgs } from 'node:util';
import { STORE_NAMES, type StoreName, storeName } from '../app.config.js';

export interface DemoArguments {
  /** Races per mode. */
  readonly rounds: number;
  /** Server processes. */
  readonly workers: number;
  /** Where locks live; `null`: in Redis, or in memory where there is none. */
  readonly store: StoreName | null;
  /** Where to write everything as JSON. */
  readonly json: string | null;
}

export const USAGE = `npm run demo -- [--rounds N] [--workers N] [--store NAME] [--json FILE]

  --rounds N    races of cancel against submit, with the lock off and again with it on (default 200)
  --workers N   server processes, at least 2 (default 2)
  --store NAME  where locks live: ${STORE_NAMES.join(', ')} (default redis)
  --json FILE   writes all results to FILE`;

/** @throws {Error} naming the argument, its value and what is allowed. */
export function parseDemoArguments(args: readonly string[]): DemoArguments {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string' },
      workers: { type: 'string' },
      store: { type: 'string' },
      json: { type: 'string' },
    },
  });
  return {
    rounds: wholeNumber('--rounds', values.rounds ?? '200', 1, 100_000),
    workers: wholeNumber('--workers', values.workers ?? '2', 2, 16),
    store: values.store === undefined ? null : storeName(values.store),
    json: values.json ?? null,
  };
}

function wholeNumber(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new Error(`${name} is "${text}"; allowed: a whole number from ${least} to ${most}.`);
}
