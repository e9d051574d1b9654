import { describe, expect, it } from 'vitest';
import type { LockStore } from '../../src/distributed-lock/store/lock-store.js';
import { MemoryWorld } from '../../src/distributed-lock/store/memory/memory.world.js';
import {
  memoryStore,
  memoryStoreIn,
} from '../../src/distributed-lock/store/memory/memory.lock-store.js';
import { checkClause, contractOf } from '../../src/distributed-lock/testing/contract/contract.js';
import { storeWorld } from '../../src/distributed-lock/testing/contract/store-world.js';
import * as broken from './broken-stores.js';
import { ITEMS } from './conformance.js';
import { FAULT_CONTRACT } from './fault.contract.js';
import { type Clause, CONTRACT, type StoreWorld } from './lock-store.contract.js';

type StoreClass = new (inner: LockStore, shared: broken.Shared) => broken.HealthyStore;

const { traits } = memoryStore();
const CLAUSES = contractOf(traits);

/** A broken store may hang: a check that has not ended by then has not passed. */
const DEADLINE_MS = 3_000;

/** @throws what the clause found, or that it did not come to an end. */
function check(clause: Clause, Store: StoreClass): Promise<void> {
  const memory = new MemoryWorld();
  const shared = new broken.Shared();
  const world: StoreWorld = {
    ...storeWorld(() => new Store(memoryStoreIn(memory), shared)),
    queued: () => new Promise(setImmediate),
    // A broken store may not even close.
    close: async () => shared.end(),
  };
  return checkClause(clause, world, traits, DEADLINE_MS);
}

const ONE_OWNER =
  'a key has one owner at a time, and tokens grow in grant order, also after every store was closed';
const TRY = 'a try on a held key answers null at once, to another store and to the same one';
const GIVE_UP = 'a waiter gives up after its wait time and leaves nothing behind';
const ABORT =
  'an abort ends the wait at once with the reason of the signal, and later waiters are served';
const SECOND = 'a second release answers not-held and does not free the next owner';
const SECOND_HERE = 'a second release does not free the next owner of the same store either';
const ORDER = 'waiters are served in order, each with a greater token';
const ODD = 'odd keys are usable and distinct';
const OTHER_KEYS = 'a waiting key delays neither other keys nor releases';
const HUNDRED = 'a hundred keys can be waited for at once';
const RENEWED = 'a renewed lease outlives its lease time';
const SHORTER = 'a renewal never shortens a lease';
const ENDS =
  'a lease that is not renewed ends: its holder knows no later than its successor enters';
const REVIVED = 'a renewal never brings back a lease that has ended';
const ABANDONED = 'an abandoned grant keeps the key closed until its lease is over, and then only';
const KEPT =
  'a released key that is kept stays closed for that long, and not longer; also for the process that released it; also after it ended where keeps = server';
const REOPENED = 'a store that was closed can be opened again';
const HAND_OFF =
  'a release lets a waiter of another store in, long before its lease would have ended';
const TOKENS = 'its traits say how tokens grow';
const TRAITS = 'its traits are those that it is tested for';
const CLOSED =
  'stop turns waiters away and lets grants be released; close ends grants and tells their holders';
const TOGETHER =
  'shared holders are inside together, of one store and of several; they have no token';
const APART = 'a shared and an exclusive holder are never inside together, whoever came first';
const NEVER_MEET = 'many shared and exclusive callers never meet inside, and shared ones do meet';
const NO_OVERTAKING = 'a shared caller does not overtake an exclusive one that waits';
const NO_STARVING = 'a stream of shared holders does not starve an exclusive caller';
const GIVE_UP_AT_HEAD = 'whoever gives up at the head of the line lets those behind it in';
const NO_PLACE_LEFT = 'a store that closes leaves no place in the line behind';
const SHARED_ENDS = 'a shared lease that is not renewed ends, and never comes back';
const PERMITS = 'as many as there are permits are inside, over all stores, and never one more';
const PERMIT_ENDS = 'a permit whose lease has ended is free again, and its holder knows by then';
const ARRIVAL =
  'fair callers are served in order of arrival over all stores, each with a greater token';
const FAIR_AND_OTHERS =
  'fair callers and others exclude each other, with tokens that grow over both';
const SHOWS = 'stateOf shows who holds a key, to every store, and nobody once it is released';
const WAITERS = 'stateOf counts at least those who wait, where the store can tell';
const FORCE =
  'a force release ends a hold: its holder is told, the waiter enters with a greater token, the old release frees nobody';
const FORCE_HERE =
  'a force release tells a holder of the same store before it answers, lets its next caller in, and ends no other hold of that store';
const FORCE_ALONE =
  'a force release ends the holds of its key, and no other hold of their processes';
const FORCE_NOBODY = 'a force release of a key that nobody holds ends nothing, and hinders nobody';
const FORCE_KEPT = 'a force release opens a key that is kept closed';
const FORCE_SHARED =
  'shared holders are all shown, and all ended by force before an exclusive one enters';
const FORCE_PERMITS = 'permits are all shown, and all ended by force; as many are free again';
const FORCE_FAIR = 'a hold in order of arrival is ended by force, and lets others in, as any other';

const CAUGHT: readonly (readonly [string, StoreClass, string])[] = [
  ['grants everybody', broken.GrantsEverybody, ONE_OWNER],
  ['grants everybody who tries', broken.GrantsEverybody, TRY],
  ['repeats a token', broken.RepeatsTokens, ONE_OWNER],
  ['lowers its tokens', broken.LowersTokens, ORDER],
  ['is secretly re-entrant', broken.IsReentrant, TRY],
  ['answers null without waiting', broken.NeverWaits, GIVE_UP],
  ['keeps the place of who gave up', broken.KeepsPlaces, GIVE_UP],
  ['loses the waiter behind an aborted one', broken.LosesWhoIsBehind, ABORT],
  ['frees the next owner', broken.ReleasesForAnybody, SECOND],
  ['frees the next owner of the same store', broken.ReleasesForAnybody, SECOND_HERE],
  ['frees the successor of an evicted owner', broken.ReleasesForAnybody, ENDS],
  ['says released twice', broken.ReleasesTwice, SECOND],
  ['looks for its turn now and then', broken.LooksSeldom, HAND_OFF],
  ['lowers its tokens over all keys', broken.LowersTokens, TOKENS],
  ['serves the last first', broken.ServesTheLastFirst, ORDER],
  ['folds the case of keys', broken.FoldsCase, ODD],
  ['trims keys', broken.TrimsKeys, ODD],
  ['waits for one key at a time', broken.WaitsOneByOne, OTHER_KEYS],
  ['can wait for fifty keys', broken.HasFiftyPlaces, HUNDRED],
  ['says renewed and does nothing', broken.RenewsNothing, RENEWED],
  ['shortens a lease', broken.Shortens, SHORTER],
  ['lets an evicted holder go on', broken.NeverEndsLeases, ENDS],
  ['brings back a lease that has ended', broken.Revives, REVIVED],
  ['releases what is abandoned', broken.ReleasesWhatIsAbandoned, ABANDONED],
  ['keeps nothing closed', broken.KeepsNothing, KEPT],
  ['keeps a key closed for its lease', broken.KeepsForTheLease, KEPT],
  ['keeps a key closed only while it lives', broken.KeepsWhileItLives, KEPT],
  ['has other traits than it is tested for', broken.HasOtherTraits, TRAITS],
  ['leaves waiters pending when it stops', broken.LeavesWaitersPending, CLOSED],
  ['stays closed', broken.StaysClosed, REOPENED],
  ['closes without telling its holders', broken.ClosesSilently, CLOSED],
  ['shares nothing', broken.SharesNothing, TOGETHER],
  ['shares nothing among many', broken.SharesNothing, NEVER_MEET],
  ['shares everything', broken.SharesEverything, APART],
  ['shares everything among many', broken.SharesEverything, NEVER_MEET],
  ['lets readers overtake a writer', broken.LetsReadersOvertake, NO_OVERTAKING],
  ['lets readers starve a writer', broken.LetsReadersOvertake, NO_STARVING],
  ['keeps the place of a writer that gave up', broken.ForgetsToLeave, GIVE_UP_AT_HEAD],
  ['keeps the places of a store that closed', broken.DiesInTheLine, NO_PLACE_LEFT],
  ['lets an evicted shared holder go on', broken.NeverEndsLeases, SHARED_ENDS],
  ['counts permits per store', broken.CountsPermitsPerStore, PERMITS],
  ['has one permit more', broken.HasOnePermitMore, PERMITS],
  ['keeps permits of the dead', broken.KeepsPermits, PERMIT_ENDS],
  ['serves fair callers process by process', broken.SharesNothing, ARRIVAL],
  ['has two queues', broken.KeepsLineAndTurnsApart, FAIR_AND_OTHERS],
  ['shows nobody', broken.ShowsNobody, SHOWS],
  ['shows who has gone', broken.ShowsTheLast, SHOWS],
  ['counts no waiters', broken.ShowsNobody, WAITERS],
  ['says that a hold was ended, and ends none', broken.EndsNobody, FORCE],
  ['evicts silently', broken.EvictsSilently, FORCE],
  ['evicts a holder of the same store silently', broken.EvictsSilently, FORCE_HERE],
  ['frees the successor of a hold ended by force', broken.ReleasesForAnybody, FORCE_HERE],
  ['ends other holds of the same store', broken.EndsEverything, FORCE_HERE],
  ['ends other holds of the same process', broken.EndsEverything, FORCE_ALONE],
  ['ends a hold that nobody has', broken.AlwaysEndsOne, FORCE_NOBODY],
  ['does not open what is kept', broken.LeavesWhatIsKept, FORCE_KEPT],
  ['shows one of several shared holders', broken.ShowsTheFirst, FORCE_SHARED],
  ['ends one of several shared holds', broken.EndsTheLast, FORCE_SHARED],
  ['ends one of several permits', broken.EndsTheLast, FORCE_PERMITS],
  ['ends no hold that came in order of arrival', broken.EndsNobody, FORCE_FAIR],
];

it('every item of the list has a clause', () => {
  const items = new Set([...CONTRACT, ...FAULT_CONTRACT].map(({ item }) => item));
  expect([...items].sort((a, b) => a - b)).toEqual(Object.keys(ITEMS).map(Number));
});

describe('the contract catches a store that', () => {
  it.concurrent.each(CAUGHT)('%s', async (_name, Store, promise) => {
    const clause = CLAUSES.find((it) => it.promise === promise);
    if (!clause) throw new Error(`no such clause: ${promise}`);
    await expect(check(clause, Store)).rejects.toThrow();
  });

  // Memory has leases, and serves the waiters of one store before those of another: to these clauses it is a broken store as it is.
  it.concurrent.each([
    'waiters of several stores are served in the order in which they came',
    'a grant of a session outlives its lease time',
  ])('does not promise it: %s', async (promise) => {
    const clause = CONTRACT.find((it) => it.promise === promise)!;
    await expect(check(clause, broken.HealthyStore)).rejects.toThrow();
  });

  it('breaks any of its promises', () => {
    const proven = new Set(CAUGHT.map(([, , promise]) => promise));
    expect(CLAUSES.map(({ promise }) => promise).filter((it) => !proven.has(it))).toEqual([]);
  });
});

describe('the contract passes a healthy store', () => {
  it.concurrent.each(CLAUSES.map((clause) => [clause.promise, clause] as const))(
    '%s',
    async (_promise, clause) => {
      await check(clause, broken.HealthyStore);
    },
  );
});
