import { now } from '../distributed-lock.clock.js';
import type { KeyQueue } from './key-queue.js';
import type { Turn } from './turn.js';
import type { Offer } from './turn-backend.js';

/** Until a confirmation is repeated that was not answered. */
const AGAIN_MS = 50;

/**
 * Has a turn that was begun on an offer confirmed while its callers run: repeated until it is answered, or nobody is left to whom it matters. One that
 * was over by then is lost.
 *
 * @param more whether callers of this process wait behind the first.
 */
export function confirmOffer(
  queue: Pick<KeyQueue, 'host' | 'grant' | 'lose'>,
  turn: Turn,
  offer: Offer,
  more: boolean,
): void {
  const { host } = queue;
  // Behind its give-back it would take the key for nobody.
  if (queue.grant?.turn !== turn) return turn.settle();
  const { key, owner, leaseTimeMs } = turn;
  const request = { key, owner, leaseTimeMs, wait: true, more, since: null, attempt: 0 };
  const sentAt = now();
  host.backend.take(request).then(
    (answer) => {
      turn.settle();
      host.begun.delete(owner);
      if (answer.granted && answer.tokens?.first === offer.tokens.first)
        return turn.prolong(leaseTimeMs, sentAt);
      const { grant } = queue;
      // Without a caller inside, a command about the turn is under way or sent that finds it out as well; it may have begun another one.
      if (grant?.turn !== turn || !turn.isFrom(offer.tokens)) return;
      void host.giveBack(key, owner);
      queue.lose(grant, 'taken-over');
    },
    () => setTimeout(() => confirmOffer(queue, turn, offer, more), AGAIN_MS).unref(),
  );
}
