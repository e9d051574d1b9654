/**
 * What is asked of every store, by number. The contract (`lock-store.contract.ts`) and the fault contract (`fault.contract.ts`) have at least
 * one clause for each; the table at the end of a run shows them in this order.
 */
export const ITEMS: Readonly<Record<number, string>> = {
  1: 'one owner at a time; tokens grow',
  2: 'a try on a held key answers at once',
  3: 'the wait time is kept, and nothing stays behind',
  4: 'an abort ends a wait, not that of others',
  5: 'a second release changes nothing',
  6: 'a release is a hand-off, in time',
  7: 'the order of waiters is the declared one',
  8: 'odd keys are usable and distinct',
  9: 'a waiting key delays nothing else',
  10: 'a hold lasts as long as it is renewed',
  11: 'a lease ends, its holder first',
  12: 'a partition: the holder knows no later than its successor enters',
  13: 'a connection that breaks under a waiter',
  14: 'an operator ends a hold',
  15: 'a hundred keys are waited for at once',
  16: 'the end of a store, and its return',
  17: 'the answer to an acquire is lost',
  18: 'the answer to a release is lost',
  19: 'a holder is killed',
  20: 'a holder is frozen',
  21: 'the wall clock of a process has no say',
  22: 'connections do not grow with waiters',
  23: 'holders that tolerate each other: shared, and permits',
  24: 'keys that collide in the store',
  25: 'the server is killed and comes back',
  26: 'a process ends by itself',
  27: 'a set-up that cannot carry locks is refused at boot',
  28: 'a released key is kept closed for a while',
  29: 'memory does not grow with keys',
  30: 'the traits are what the store does',
};

/** Items whose clauses come with the capability itself; take a number out when its first clause is there. */
export const NOT_YET: readonly number[] = [];
