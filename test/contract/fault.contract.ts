import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { now } from '../../src/distributed-lock/distributed-lock.clock.js';
import {
  LockConfigurationError,
  LockStoreUnavailableError,
} from '../../src/distributed-lock/distributed-lock.errors.js';
import type { LockKey } from '../../src/distributed-lock/key/lock-key.js';
import type {
  LockGrant,
  LockStore,
  StoreTraits,
} from '../../src/distributed-lock/store/lock-store.js';
import { failureOf, Managed } from '../lock/managed.js';
import { Contention, lossOf } from '../stores/contention.js';
import { ensureBuilt } from '../support/build.js';
import type { Network } from '../support/network.js';
import { startWorkers, type WorkerProcess } from '../support/processes.js';
import { until } from '../support/until.js';
import { freshKey, request, type StoreWorld, take, titleOf } from './lock-store.contract.js';

/** How long a lease lasts here, and a session of which the server hears nothing. */
export const TERM_MS = 1_000;
/** When the key of a holder that is gone is free at the latest: servers look around from time to time, waiters too. */
const FREE_MS = TERM_MS + 2_500;

/** Something that a store has, and that can therefore break. */
export type Feature =
  /** Connections to a server. */
  | 'network'
  /** A server that can be killed. */
  | 'server'
  /** Other processes that see its locks. */
  | 'processes'
  /** A way for an operator to end one hold. */
  | 'operator'
  /** Names in the server that two keys may share. */
  | 'collisions'
  /** A set-up outside of the application, which may be wrong. */
  | 'set-up';

/** A namespace on the server, and a network of one store's own. */
export interface FaultWorld extends StoreWorld {
  /** @throws where there is none. */
  readonly network: Network;
  /** A store that reaches the server by the network alone. */
  behind(): Promise<LockStore>;
  /** Text in the command that takes the key. */
  takes(key: LockKey): string;
  /** Text in the command that gives it back. */
  givesBack(grant: LockGrant): string;
  /** Ends the hold, as an operator would; only of a store that is `behind` the network. */
  evict(grant: LockGrant): Promise<unknown>;
  /** What a process opens such a store with: see `store-worker.mjs`. */
  readonly worker: {
    readonly kind: string;
    readonly options: object;
    /** For controls: see there. */
    readonly breaks?: string;
  };
}

/** A server that only this spec uses. */
export interface FaultBackend {
  readonly ownership: StoreTraits['ownership'];
  /** @param sessionTimeout of its stores, in milliseconds, where they have sessions. */
  open(sessionTimeout: number): Promise<FaultWorld>;
  /** Connections of one store, however many wait. */
  readonly connections: number;
  /** Whether holds outlive {@link restart}. */
  readonly keepsHolds: boolean;
  /** Kills the server and starts it again, with its data. */
  restart(): Promise<void>;
  /** A store, not opened, all of whose keys share one name in the server. */
  colliding(): LockStore;
  /** Stores that must not open, each with what its error says. */
  refusals(): readonly { readonly store: LockStore; readonly says: RegExp }[];
  stop(): Promise<unknown>;
}

export interface FaultClause {
  /** Number in `conformance.ts`. */
  readonly item: number;
  readonly promise: string;
  /** What a store must have to be able to break in this way. */
  readonly needs?: readonly Feature[];
  readonly onlyFor?: Partial<StoreTraits>;
  /** Whether it waits for a session to end. All others have long ones, which do not end because a machine is slow. */
  readonly endsSessions?: true;
  /** Whether it takes the server away from others. */
  readonly alone?: true;
  check(world: FaultWorld, backend: FaultBackend): Promise<void>;
}

/** Renewed by its manager, as a hold of an application is. */
const TERM = { leaseTimeMs: TERM_MS } as const;
const HOUR_MS = 3_600_000;
/** Longer than any test: who is free before that was freed. */
const LONG = { leaseTimeMs: 60_000 } as const;

async function startWorker({ namespace, worker: settings }: FaultWorld): Promise<{
  readonly worker: WorkerProcess;
  call<T>(command: string, payload: object): Promise<T>;
}> {
  const { workers } = await startWorkers({ script: 'store-worker.mjs', count: 1 });
  const worker = workers[0]!;
  const call = <T>(command: string, payload: object): Promise<T> =>
    worker.call<T>(command, { namespace, ...payload });
  await call('open', settings);
  return { worker, call };
}

/** Rejects as unavailable, or succeeds: what a caller may be told of a command whose answer was lost. */
async function unlessUnavailable<T>(outcome: Promise<T>): Promise<T | null> {
  const settled = await outcome.catch((error: unknown) => error as Error);
  if (!(settled instanceof Error)) return settled;
  expect(settled).toBeInstanceOf(LockStoreUnavailableError);
  return null;
}

/** For what is looked at later: an expectation may fail before. */
function begun<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

/** Its directories, rows and scripts are there: the next command is the one that takes. */
async function used(store: LockStore): Promise<LockKey> {
  const key = freshKey();
  await store.release(await take(store, key));
  return key;
}

function expectGreater(next: LockGrant, before: LockGrant | bigint | null): void {
  const token = typeof before === 'object' ? before?.fencingToken : before;
  if (next.fencingToken !== null) expect(next.fencingToken > token!).toBe(true);
}

export const FAULT_CONTRACT: readonly FaultClause[] = [
  {
    item: 10,
    promise: 'a session that has nothing to say outlives its time-out',
    needs: ['network'],
    onlyFor: { ownership: 'session' },
    endsSessions: true,
    async check(world) {
      const [holder, other] = [await world.behind(), await world.store()];
      const grant = await take(holder, freshKey());
      const loss = lossOf(grant);
      await pause(2 * TERM_MS);
      expect(grant.validUntil).toBeGreaterThan(now());
      expect(await other.acquire(request(grant.key))).toBeNull();
      expect(await holder.release(grant)).toBe('released');
      expect(loss.reason).toBeUndefined();
    },
  },
  {
    item: 12,
    promise: 'a holder that is cut off has stopped when its successor enters',
    needs: ['network'],
    endsSessions: true,
    async check(world) {
      const [holder, other] = [new Managed(await world.behind()), await world.store()];
      const order: string[] = [];
      const hold = await holder.enter(freshKey(), TERM);
      hold.lost.addEventListener('abort', () => order.push('lost'));
      const [key] = hold.keys as [LockKey];
      const kept = await other.acquire(request(key, { waitTimeMs: 1.3 * TERM_MS }));
      expect(kept, 'control: as long as it is connected it is renewed').toBeNull();
      world.network.blackhole();
      const blackAt = now();
      const next = await take(other, key, { waitTimeMs: 20_000, ...LONG });
      order.push('successor');
      expect(hold.isHeld()).toBe(false);
      expect(order).toEqual(['lost', 'successor']);
      expect(now() - blackAt).toBeLessThan(FREE_MS);
      expectGreater(next, hold.fencingToken);
      await world.network.pass();
      expect(await unlessUnavailable(hold.release())).not.toBe('released');
      // A server that stands still for a moment says nothing about the hold: it is asked until it answers.
      let renewed: unknown = 'unavailable';
      await until('an answer to its renewal', async () => {
        renewed = await unlessUnavailable(other.renew([{ grant: next, ...LONG }]));
        return Array.isArray(renewed);
      });
      expect(renewed, 'untouched by what comes late').toEqual([true]);
      expect(await other.release(next)).toBe('released');
    },
  },
  {
    item: 13,
    promise: 'a waiter whose connection breaks is served once, and leaves nothing behind',
    needs: ['network'],
    async check(world) {
      const [holder, waiter] = [await world.store(), await world.behind()];
      const key = await used(waiter);
      for (const fault of ['cut', 'refuse'] as const) {
        const busy = await take(holder, key, LONG);
        let served = 0;
        const { answers } = world.network;
        const waiting = begun(
          take(waiter, key, { waitTimeMs: 20_000, ...LONG }).then((grant) => {
            served += 1;
            return grant;
          }),
        );
        await until('it to have asked', () => world.network.answers > answers);
        await world.network[fault]();
        expect(await holder.release(busy)).toBe('released');
        await world.network.pass();
        expect(await waiter.release(await waiting)).toBe('released');
        expect(served).toBe(1);
        const free = await holder.acquire(request(key, { waitTimeMs: FREE_MS }));
        expect(free, 'free').not.toBeNull();
        await holder.release(free!);
      }
    },
  },
  {
    item: 14,
    promise:
      'a hold that an operator ends: its holder is told, the waiter enters with a greater token',
    needs: ['operator'],
    async check(world) {
      const [holder, other] = [await world.behind(), await world.store()];
      const old = await take(holder, freshKey(), LONG);
      const loss = lossOf(old);
      const waiting = begun(take(other, old.key, { waitTimeMs: 20_000, ...LONG }));
      await world.evict(old);
      const next = await waiting;
      expectGreater(next, old);
      await until('the holder to be told', async () => {
        const [held] = (await unlessUnavailable(holder.renew([{ grant: old, ...LONG }]))) ?? [];
        return held === false;
      });
      expect(loss.reason).toMatch(/^(session-ended|taken-over|expired)$/);
      expect(await holder.release(old)).toBe('not-held');
      expect(await other.release(next)).toBe('released');
    },
  },
  {
    item: 17,
    promise: 'an acquire whose answer is lost is granted once or not at all, and leaves no orphan',
    needs: ['network'],
    async check(world) {
      const [store, other] = [await world.behind(), await world.store()];
      for (const waitTimeMs of [10_000, 0]) {
        const key = await used(store);
        const lost = world.network.cutBeforeReplyTo(world.takes(key));
        const asked = store.acquire(request(key, { waitTimeMs, ...LONG }));
        const grant = waitTimeMs > 0 ? await asked : await unlessUnavailable(asked);
        await lost;
        if (waitTimeMs > 0) expect(grant, 'who waits is served').not.toBeNull();
        if (grant) {
          expect(await other.acquire(request(key)), 'one owner').toBeNull();
          expect(await store.release(grant)).toBe('released');
        }
        const free = await other.acquire(request(key, { waitTimeMs: FREE_MS }));
        expect(free, 'free, long before the lease is over').not.toBeNull();
        await other.release(free!);
      }
    },
  },
  {
    item: 18,
    promise: 'a release whose answer is lost has released, and touches no successor',
    needs: ['network'],
    async check(world) {
      const [store, other] = [await world.behind(), await world.store()];
      const key = await used(store);
      const grant = await take(store, key, LONG);
      const waiting = begun(other.acquire(request(key, { waitTimeMs: FREE_MS, ...LONG })));
      const lost = world.network.cutBeforeReplyTo(world.givesBack(grant));
      await unlessUnavailable(store.release(grant));
      await lost;
      const next = await waiting;
      expect(next, 'released').not.toBeNull();
      expectGreater(next!, grant);
      expect(await unlessUnavailable(store.release(grant))).not.toBe('released');
      expect(await other.renew([{ grant: next!, ...LONG }])).toEqual([true]);
      expect(await other.release(next!)).toBe('released');
    },
  },
  {
    item: 19,
    promise: 'a holder that is killed frees its key within the lease or session',
    needs: ['processes'],
    endsSessions: true,
    async check(world) {
      const other = await world.store();
      const key = freshKey();
      const { worker, call } = await startWorker(world);
      await call('take', { key, ...TERM });
      expect(await other.acquire(request(key)), 'control: held by the worker').toBeNull();
      const waiting = begun(other.acquire(request(key, { waitTimeMs: FREE_MS })));
      await worker.kill();
      expect(await waiting).not.toBeNull();
    },
  },
  {
    item: 20,
    promise: 'a holder that was frozen for longer knows at its first look that it does not hold',
    needs: ['processes'],
    endsSessions: true,
    async check(world) {
      const other = await world.store();
      const key = freshKey();
      const { worker, call } = await startWorker(world);
      await call('take', { key, ...TERM });
      expect(await call('look', { key }), 'control').toBe(true);
      worker.freeze();
      const next = await other.acquire(request(key, { waitTimeMs: FREE_MS, ...LONG }));
      worker.thaw();
      expect(next, 'freed').not.toBeNull();
      expect(await call('look', { key })).toBe(false);
      const told = await call('release', { key }).catch((error: { code?: unknown }) => error.code);
      expect(['not-held', 'LOCK_STORE_UNAVAILABLE']).toContain(told);
      expect(await other.renew([{ grant: next!, ...LONG }])).toEqual([true]);
      await worker.kill();
    },
  },
  {
    item: 21,
    promise:
      'a wall clock that is set back an hour makes no hold last, one that is set forward ends holds early; locks go on',
    async check(world, backend) {
      const { worker, call } = await startWorker(world);
      const worksOn = async () => {
        const key = freshKey();
        await call('take', { key, leaseTimeMs: 20_000 });
        expect(await call('look', { key })).toBe(true);
        expect(await call('renew', { key, leaseTimeMs: 20_000 })).toEqual([true]);
        const busy = await call<Taken>('take', { key, waitTimeMs: 200 });
        expect(busy.granted, 'held').toBe(false);
        expect(busy.tookMs).toBeGreaterThan(190);
        expect(busy.tookMs).toBeLessThan(2_000);
        expect(await call('release', { key })).toBe('released');
      };
      const [kept, short, ended] = [freshKey('kept'), freshKey('short'), freshKey('ended')];
      await call('take', { key: kept, ...LONG });
      await call('take', { key: short, leaseTimeMs: 400 });
      expect(await worker.call('setClock', -HOUR_MS), 'control').toBeCloseTo(-HOUR_MS, -2);
      expect(await call('look', { key: kept })).toBe(true);
      expect(await call('renew', { key: kept, ...LONG })).toEqual([true]);
      if (backend.ownership === 'lease')
        await until('the lease to end', async () => !(await call('look', { key: short })));
      await worksOn();
      await call('take', { key: ended, ...TERM });
      expect(await worker.call('setClock', HOUR_MS), 'control').toBeCloseTo(HOUR_MS, -2);
      // The machine may have been suspended for an hour: nobody can tell, and another may hold the key.
      expect(await call('look', { key: ended })).toBe(false);
      await worksOn();
      await worker.kill();
    },
  },
  {
    item: 22,
    promise: 'a hundred holds and two hundred waiters need no more connections than one',
    needs: ['network'],
    async check(world, { connections }) {
      const [holder, store] = [await world.store(), await world.behind()];
      const busy = await take(holder, freshKey('busy'), LONG);
      const held = await Promise.all(
        Array.from({ length: 100 }, (_, n) =>
          take(store, freshKey(`held${n}`), { waitTimeMs: 30_000, ...LONG }),
        ),
      );
      const { answers } = world.network;
      const waiting = begun(
        Promise.all(
          Array.from({ length: 200 }, async () =>
            store.release(await take(store, busy.key, { waitTimeMs: 30_000 })),
          ),
        ),
      );
      await until('them to have asked', () => world.network.answers > answers);
      expect(world.network.connections).toBeLessThanOrEqual(connections);
      expect(world.network.connections, 'control: by the network').toBeGreaterThan(0);
      await holder.release(busy);
      await waiting;
      await Promise.all(held.map((grant) => store.release(grant)));
      expect(world.network.connections).toBeLessThanOrEqual(connections);
      await store.close();
      await until('none to be left after close', () => world.network.connections === 0);
    },
  },
  {
    item: 24,
    promise:
      'two keys that share a name in the server exclude each other, and one does not wait for itself',
    needs: ['collisions'],
    async check(world, { colliding }) {
      const [one, two] = [colliding(), colliding()];
      for (const store of [one, two]) await store.open(world.namespace, 5_000);
      const [first, second] = [await take(one, freshKey('a')), freshKey('b')];
      expect(await one.acquire(request(second)), 'same process').toBeNull();
      expect(await two.acquire(request(second)), 'another process').toBeNull();
      const waiting = begun(take(one, second, { waitTimeMs: 10_000 }));
      expect(await one.release(first)).toBe('released');
      const grant = await waiting;
      expectGreater(grant, first);
      expect(await two.acquire(request(first.key))).toBeNull();
      expect(await one.release(grant)).toBe('released');
      await two.release(await take(two, first.key));
      for (const store of [one, two]) await store.close();
    },
  },
  {
    item: 25,
    promise: 'the server killed and back: holders are told the truth, waiters are served',
    needs: ['server'],
    alone: true,
    async check(world, backend) {
      const [holder, waiter] = [new Managed(await world.store()), await world.store()];
      const hold = await holder.enter(await used(waiter), { leaseTimeMs: 20_000 });
      const [key] = hold.keys as [LockKey];
      const waiting = begun(take(waiter, key, { waitTimeMs: 20_000, ...LONG }));
      await backend.restart();
      const told = () =>
        hold.lost.aborted ||
        hold.renew().then(
          () => true,
          () => false,
        );
      await until('the holder to know', told);
      expect(hold.lost.aborted, 'lost with the server').toBe(!backend.keepsHolds);
      if (backend.keepsHolds) expect(await hold.release()).toBe('released');
      const next = await waiting;
      expectGreater(next, hold.fencingToken);
      expect(await waiter.release(next)).toBe('released');
    },
  },
  {
    item: 25,
    promise: 'the server killed in the middle of contention: nobody enters while another is valid',
    needs: ['server'],
    alone: true,
    async check(world, backend) {
      const stores = await Promise.all([1, 2, 3, 4].map(() => world.store()));
      const contention = new Contention(stores, freshKey());
      await until('it to go on', () => contention.entered > 50);
      await backend.restart();
      const { entered } = contention;
      await until('it to go on again', () => contention.entered > entered + 50, {
        deadlineMs: 20_000,
      });
      await contention.end();
      expect(contention.anomalies).toEqual([]);
    },
  },
  {
    item: 26,
    promise: 'a process that has closed its store ends by itself, and leaves nothing held',
    async check(world) {
      const script = fileURLToPath(new URL('../support/workers/store-exit.mjs', import.meta.url));
      const key = freshKey();
      const settings = JSON.stringify({ ...world.worker, namespace: world.namespace, key });
      const child = spawn(process.execPath, [script, settings], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let said = '';
      let exit: number | null | undefined;
      child.stdout.on('data', (text: Buffer) => (said += text.toString()));
      child.on('exit', (code) => (exit = code));
      try {
        await until('it to close', () => said.includes('closed') || exit !== undefined, SLOWLY);
        await until('it to end', () => exit !== undefined, { deadlineMs: 2_000 });
      } finally {
        child.kill('SIGKILL');
      }
      expect({ exit, said }).toEqual({ exit: 0, said: 'turned away\nclosed\n' });
      expect(await (await world.store()).acquire(request(key)), 'free').not.toBeNull();
    },
  },
  {
    item: 27,
    promise: 'a set-up that cannot carry locks is refused at boot, with what is wrong',
    needs: ['set-up'],
    async check(world, { refusals }) {
      for (const { store, says } of refusals()) {
        const failure = await failureOf(store.open(world.namespace, 5_000));
        await store.close();
        expect(failure).toBeInstanceOf(LockConfigurationError);
        expect(String(failure)).toMatch(says);
      }
    },
  },
  {
    item: 29,
    promise: 'memory does not grow with the number of keys that were used',
    async check(world) {
      const { worker, call } = await startWorker(world);
      const heaps: number[] = [];
      // A process that has just begun grows for other reasons, less and less; one that remembers keys grows by each.
      await until(
        'keys that cost nothing',
        async () => {
          heaps.push(await call<number>('churn', { keys: KEYS }));
          const [before, after] = [heaps.at(-4) ?? 0, heaps.at(-1)!];
          return (after - before) / (3 * KEYS) < BYTES_PER_KEY;
        },
        { deadlineMs: 20_000 },
      );
      await worker.kill();
    },
  },
];

interface Taken {
  readonly granted: boolean;
  readonly tookMs: number;
}

/** For a process that has to load its code on a busy machine. */
const SLOWLY = { deadlineMs: 30_000 } as const;
/** In each of the rounds, of which three count together: the heap of a process moves by itself, too. */
const KEYS = 200;
/** A key that is remembered costs several times as much. */
const BYTES_PER_KEY = 150;

export interface FaultSetting {
  readonly traits: StoreTraits;
  readonly has: readonly Feature[];
  start(): Promise<FaultBackend>;
}

export function applies(clause: FaultClause, { traits, has }: FaultSetting): boolean {
  const promised = Object.entries(clause.onlyFor ?? {}).every(
    ([trait, value]) => traits[trait as keyof StoreTraits] === value,
  );
  return promised && (clause.needs ?? []).every((it) => has.includes(it));
}

export function openFor({ endsSessions }: FaultClause, backend: FaultBackend): Promise<FaultWorld> {
  return backend.open(endsSessions ? TERM_MS : 20_000);
}

/** Declares a test per clause for what the store has; those that leave the server alone run beside each other. */
export function describeFaults(name: string, setting: FaultSetting): void {
  describe(`contract: ${name}`, () => {
    let backend: FaultBackend;
    beforeAll(async () => {
      // Built before anything is timed: a compiler takes both cores of a small machine.
      await ensureBuilt();
      backend = await setting.start();
    });
    afterAll(() => backend?.stop());

    const clauses = FAULT_CONTRACT.filter((clause) => applies(clause, setting));
    const run = async (clause: FaultClause): Promise<void> => {
      const world = await openFor(clause, backend);
      try {
        await clause.check(world, backend);
      } finally {
        await world.close();
      }
    };
    for (const clause of clauses)
      (clause.alone ? it : it.concurrent)(titleOf(clause), () => run(clause));
  });
}
