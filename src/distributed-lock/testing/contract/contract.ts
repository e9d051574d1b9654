import type { Offer, StoreTraits } from '../../store/lock-store.js';
import type { Clause } from './clause.js';
import { LEASES } from './lease.clauses.js';
import { LIFECYCLE } from './lifecycle.clauses.js';
import { OPERATORS } from './operator.clauses.js';
import { OWNERSHIP } from './ownership.clauses.js';
import { PERMITS_AND_ORDER } from './permits-and-order.clauses.js';
import { SHARING } from './shared.clauses.js';
import type { StoreWorld } from './store-world.js';
import { WAITING } from './waiting.clauses.js';

/** Every clause that can be checked on a store without breaking its backend. */
export const CONTRACT: readonly Clause[] = [
  ...OWNERSHIP,
  ...WAITING,
  ...LEASES,
  ...LIFECYCLE,
  ...OPERATORS,
  ...SHARING,
  ...PERMITS_AND_ORDER,
];

/** @returns the clauses that a store with these traits promises, by item. */
export function contractOf(traits: StoreTraits): readonly Clause[] {
  return CONTRACT.filter((clause) => appliesTo(clause, traits)).sort((a, b) => a.item - b.item);
}

export function appliesTo(clause: Clause, traits: StoreTraits): boolean {
  const isExcepted = Object.entries(clause.exceptFor ?? {}).some(
    ([trait, value]) => traits[trait as keyof StoreTraits] === value,
  );
  if (isExcepted) return false;
  return Object.entries(clause.onlyFor ?? {}).every(([trait, value]) => {
    if (Array.isArray(value)) return value.every((offer: Offer) => traits.offers.includes(offer));
    return traits[trait as keyof StoreTraits] === value;
  });
}

/** Number and promise. */
export function titleOf({ item, promise }: Pick<Clause, 'item' | 'promise'>): string {
  return `${item} ${promise}`;
}

/**
 * Checks one clause, and closes the world.
 *
 * @throws what the clause found, or that it has not ended after `timeoutMs`: a broken store may keep a caller waiting for ever.
 */
export async function checkClause(
  clause: Clause,
  world: StoreWorld,
  traits: StoreTraits,
  timeoutMs: number,
): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_resolve, reject) => {
    const late = (): void => reject(new Error(`the clause has not ended after ${timeoutMs} ms`));
    timer = setTimeout(late, timeoutMs);
  });
  try {
    await Promise.race([clause.check(world, traits), deadline]);
  } finally {
    clearTimeout(timer);
    await world.close();
  }
}
