import { show } from './distributed-lock.duration.js';
import { LockConfigurationError } from './distributed-lock.errors.js';
import type { Admission, Offer, StoreTraits } from './store/lock-store.js';

/** Who may hold a key together, and in which order callers are served. */
export interface LockAdmission {
  /**
   * - `'exclusive'`: one holder, and nobody else
   * - `'shared'`: holders that tolerate each other, such as readers. They keep exclusive callers out, and wait behind one that came before
   *
   * A shared holder has no fencing token, and its transaction is not fenced: what must write takes the lock exclusively. Default `'exclusive'`.
   */
  readonly mode?: 'exclusive' | 'shared';
  /**
   * At most so many hold the key at a time, over all servers: 1 to 10000, the same in every call about the key. A permit is a lease like
   * any hold: a crash frees it. Has no fencing token. Not with `mode`.
   */
  readonly permits?: number;
  /**
   * Serve callers in order of arrival over all servers, one command each, in place of batches per server. Give it to every call about the
   * key: one without it may go before others. Default: the module's, which is `false`.
   */
  readonly fair?: boolean;
}

/** Names of the options of {@link LockAdmission}. */
export const ADMISSION_OPTIONS = ['mode', 'permits', 'fair'] as const;

/** The stores that offer it, for messages. */
export const OFFERED_BY: Readonly<Record<Offer, readonly string[]>> = {
  shared: ['memory', 'redis', 'zookeeper', 'postgres'],
  permits: ['memory', 'redis'],
  fair: ['memory', 'redis'],
};

const MOST_PERMITS = 10_000;

/**
 * @returns `undefined` for one holder at a time in the store's own order.
 * @throws {LockConfigurationError} naming the option, the value and what is allowed; also for what the store does not offer.
 */
export function resolveAdmission(
  given: LockAdmission,
  fairByDefault: boolean,
  traits: StoreTraits,
  where: string,
): Admission | undefined {
  checkAdmission(given, where);
  const { mode = 'exclusive', permits, fair = fairByDefault } = given;
  const demand = (option: keyof LockAdmission, offer: Offer): void =>
    demandOffer(traits, offer, `${where}${option}`, given[option] ?? fair);
  const isFifo = traits.fair === 'fifo';
  if (fair && !isFifo) demand('fair', 'fair');
  if (permits !== undefined) {
    demand('permits', 'permits');
    return { mode: 'permit', permits, fair };
  }
  if (mode === 'shared') {
    demand('mode', 'shared');
    return { mode, fair };
  }
  return fair && traits.offers.includes('fair') ? { mode, fair } : undefined;
}

/** Checks what no store needs to be known for. @throws {LockConfigurationError} as above. */
export function checkAdmission({ mode, permits, fair }: LockAdmission, where: string): void {
  if (mode !== undefined && mode !== 'exclusive' && mode !== 'shared')
    throw refused(`${where}mode`, mode, "'exclusive', 'shared'");
  if (fair !== undefined && typeof fair !== 'boolean')
    throw refused(`${where}fair`, fair, 'true, false');
  if (permits === undefined) return;
  if (!Number.isInteger(permits) || permits < 1 || permits > MOST_PERMITS)
    throw refused(`${where}permits`, permits, `a whole number from 1 to ${MOST_PERMITS}`);
  if (mode !== undefined)
    throw refused(`${where}mode`, mode, 'none beside "permits", which is a mode of its own');
}

/** @throws {LockConfigurationError} unless the store offers it. */
export function demandOffer(
  traits: StoreTraits,
  offer: Offer,
  option: string,
  value: unknown,
): void {
  if (traits.offers.includes(offer)) return;
  const others = OFFERED_BY[offer].map((name) => `${name}Store`).join(', ');
  throw new LockConfigurationError(
    `Option "${option}" is ${show(value)}, which the store "${traits.name}" does not offer; allowed: another store, such as ${others}.`,
  );
}

function refused(option: string, value: unknown, allowed: string): LockConfigurationError {
  return new LockConfigurationError(`Option "${option}" is ${show(value)}; allowed: ${allowed}.`);
}
