import { beforeEach, describe, expect, it } from 'vitest';
import {
  CommitOutcomeUnknownError,
  LockInsideTransactionError,
  LockLostError,
  LockStoreUnavailableError,
  LockWaitTimeoutError,
} from '../../src/distributed-lock/distributed-lock.errors.js';
import {
  DistributedLockExecutor,
  type LockedCall,
} from '../../src/distributed-lock/distributed-lock.executor.js';
import { lockKeys } from '../../src/distributed-lock/key/lock-key.js';
import { currentHold } from '../../src/distributed-lock/lock/current-hold.js';
import { Managed } from '../lock/managed.js';
import { ScriptedStore } from '../lock/scripted.lock-store.js';
import { until } from '../support/until.js';
import { RecordingTransactions } from './recording.transactions.js';

let log: string[];
let locks: Managed<ScriptedStore>;
let transactions: RecordingTransactions;
let executor: DistributedLockExecutor;

beforeEach(() => {
  log = [];
  locks = new Managed(new ScriptedStore());
  transactions = new RecordingTransactions(log);
  executor = new DistributedLockExecutor(locks.manager, transactions);
  const { store } = locks;
  store.answerAcquire = async (request) => {
    log.push('acquire');
    return store.grant(request);
  };
  store.answerRelease = async () => {
    log.push('release');
    return 'released';
  };
});

const method = async () => {
  log.push('method');
  return 'result';
};

function call<T>(proceed: LockedCall<T>['proceed'], options: Partial<LockedCall<T>> = {}) {
  return executor.execute<T>({
    method: 'QuoteService.submit',
    keys: lockKeys('application:1'),
    times: { waitTimeMs: 500, leaseTimeMs: 3_000, renew: true },
    transaction: {},
    args: ['an argument'],
    onTimeout: 'throw',
    proceed,
    ...options,
  });
}

describe('a locked call', () => {
  it('acquires, starts, runs, commits, releases: in that order', async () => {
    expect(await call(method)).toBe('result');
    expect(log.join(' ')).toBe('acquire START method COMMIT committed release');
    expect(locks.types).toEqual(['acquired', 'released']);
  });

  it('has its hold and its manager, and is told the options of its transaction', async () => {
    await call(
      async (hold, manager) => {
        expect(currentHold()).toBe(hold);
        expect(hold.isHeld()).toBe(true);
        expect(manager).toBe('manager');
      },
      { transaction: { isolation: 'SERIALIZABLE' } },
    );
    expect(currentHold()).toBeUndefined();
    expect(transactions.ran).toEqual([{ isolation: 'SERIALIZABLE' }]);
  });

  it('does not release while the commit is on its way', async () => {
    transactions.commit = async () => {
      for (let n = 0; n < 5; n += 1) await new Promise((resolve) => setImmediate(resolve));
      log.push('slow commit');
    };
    await call(method);
    expect(log.join(' ')).toBe('acquire START method COMMIT slow commit committed release');
  });

  it('that throws is rolled back, then released, and its error is the very same object', async () => {
    const boom = new Error('boom');
    const failing = call(async () => {
      log.push('method');
      throw boom;
    });
    await expect(failing).rejects.toBe(boom);
    expect(log.join(' ')).toBe('acquire START method ROLLBACK release');
  });

  it('passes on whatever is thrown', async () => {
    await expect(call(() => Promise.reject('a text'))).rejects.toBe('a text');
    await expect(call(() => Promise.reject(undefined))).rejects.toBeUndefined();
    expect(log.filter((it) => it === 'release')).toHaveLength(2);
  });

  it('that throws before its first await is released, too', async () => {
    const boom = new Error('boom');
    const failing = call(() => {
      throw boom;
    });
    await expect(failing).rejects.toBe(boom);
    expect(log.join(' ')).toBe('acquire START ROLLBACK release');
  });

  it('that lost its lock does not commit', async () => {
    const losing = call(async () => {
      log.push('method');
      locks.store.grants[0]!.onLost!('taken-over');
    });
    await expect(losing).rejects.toMatchObject({ code: 'LOCK_LOST', reason: 'taken-over' });
    expect(log).not.toContain('COMMIT');
    expect(log.join(' ')).toBe('acquire START method release ROLLBACK');
    expect(locks.types).toEqual(['acquired', 'lost']);
  });

  it('whose commit has an unknown outcome leaves the lock to its lease', async () => {
    const unknown = new CommitOutcomeUnknownError('application:1');
    transactions.commit = () => Promise.reject(unknown);
    await expect(call(method)).rejects.toBe(unknown);
    expect(log.join(' ')).toBe('acquire START method COMMIT');
    expect(locks.store.asked).toEqual(['acquire application:1', 'abandon application:1']);
  });

  it('control: any other failure of the commit releases', async () => {
    const failure = new Error('deadlock');
    transactions.commit = () => Promise.reject(failure);
    await expect(call(method)).rejects.toBe(failure);
    expect(log.join(' ')).toBe('acquire START method COMMIT release');
  });

  it('returns its value when the release after the commit fails; the failure is an event', async () => {
    const down = new LockStoreUnavailableError('scripted', 'application:1', 'down');
    locks.store.answerRelease = () => Promise.reject(down);
    expect(await call(method)).toBe('result');
    expect(log).toContain('committed');
    expect(locks.happened.at(-1)).toMatchObject({ type: 'release-failed', error: down });
  });

  it('with awaitRelease: false does not wait for the release, whose failure is an event', async () => {
    const times = { waitTimeMs: 500, leaseTimeMs: 3_000, renew: true, awaitRelease: false };
    let fail!: (error: Error) => void;
    locks.store.answerRelease = () => new Promise((_resolve, reject) => (fail = reject));
    expect(await call(method, { times })).toBe('result');
    expect(log.join(' '), 'committed before').toBe('acquire START method COMMIT committed');
    const down = new LockStoreUnavailableError('scripted', null, 'down');
    fail(down);
    await until('the event', () => locks.types.includes('release-failed'));
    expect(locks.happened.at(-1)).toMatchObject({ type: 'release-failed', error: down });
  });

  it('control: waits for it otherwise', async () => {
    let answer!: () => void;
    locks.store.answerRelease = () =>
      new Promise((resolve) => (answer = () => resolve('released')));
    let answered = false;
    const calling = call(method).finally(() => (answered = true));
    await until('the release', () => answer !== undefined);
    await new Promise(setImmediate);
    expect(answered).toBe(false);
    answer();
    expect(await calling).toBe('result');
  });

  it('throws its own error when the release fails after it', async () => {
    const boom = new Error('boom');
    locks.store.answerRelease = () =>
      Promise.reject(new LockStoreUnavailableError('scripted', 'application:1', 'down'));
    await expect(call(() => Promise.reject(boom))).rejects.toBe(boom);
    expect(locks.types).toEqual(['acquired', 'release-failed']);
  });

  it('does not run when the store cannot answer', async () => {
    const down = new LockStoreUnavailableError('scripted', 'application:1', 'down');
    locks.store.answerAcquire = () => Promise.reject(down);
    await expect(call(method, { onTimeout: 'skip' })).rejects.toBe(down);
    expect(log).toEqual([]);
  });
});

describe('a locked call without a transaction', () => {
  it('runs between acquire and release', async () => {
    expect(await call(method, { transaction: null })).toBe('result');
    expect(log.join(' ')).toBe('acquire method release');
  });

  it('that lost its lock says so, and that its effects may stand', async () => {
    const losing = call(
      async () => {
        locks.store.grants[0]!.onLost!('expired');
        return 'result';
      },
      { transaction: null },
    );
    await expect(losing).rejects.toMatchObject({
      code: 'LOCK_LOST',
      methodRan: true,
      committed: 'unknown',
      retryable: false,
    });
  });

  it('that throws after the loss keeps its own error', async () => {
    const boom = new Error('boom');
    const losing = call(
      async () => {
        locks.store.grants[0]!.onLost!('expired');
        throw boom;
      },
      { transaction: null },
    );
    await expect(losing).rejects.toBe(boom);
  });

  it('that released its hold itself has its result', async () => {
    const result = await call(
      async (hold) => {
        await hold.release();
        return 'result';
      },
      { transaction: null },
    );
    expect(result).toBe('result');
    expect(log.join(' ')).toBe('acquire release');
  });

  it('has no manager', async () => {
    await call(async (_hold, manager) => expect(manager).toBeUndefined(), { transaction: null });
  });
});

describe('a lock that is asked for inside an open transaction', () => {
  beforeEach(() => {
    transactions.open = { dataSource: 'default', openedAt: 'Bar.checkout (bar.ts:41:7)' };
  });

  it('is refused before anything is locked, naming both places', async () => {
    const refused = call(method);
    await expect(refused).rejects.toBeInstanceOf(LockInsideTransactionError);
    await expect(refused).rejects.toMatchObject({
      requestedBy: 'QuoteService.submit',
      openedAt: 'Bar.checkout (bar.ts:41:7)',
      methodRan: false,
      committed: false,
      retryable: false,
    });
    expect(log).toEqual([]);
    expect(locks.happened).toEqual([]);
  });

  it('is refused without a transaction of its own, and by acquire(), too', async () => {
    await expect(call(method, { transaction: null })).rejects.toMatchObject({
      code: 'LOCK_INSIDE_TRANSACTION',
    });
    await expect(
      executor.acquire({
        method: 'DistributedLockService.acquire',
        keys: lockKeys('application:1'),
        times: { waitTimeMs: 0, leaseTimeMs: 3_000, renew: true },
        transaction: null,
      }),
    ).rejects.toMatchObject({ requestedBy: 'DistributedLockService.acquire' });
    expect(log).toEqual([]);
  });

  it('is not turned into a fallback by onTimeout', async () => {
    await expect(call(method, { onTimeout: 'skip' })).rejects.toMatchObject({
      code: 'LOCK_INSIDE_TRANSACTION',
    });
  });

  it.each([
    ['the runner', () => (transactions.whenOpen = 'warn'), {}],
    ['the call', () => undefined, { onOpenTransaction: 'warn' as const }],
  ])("runs where %s says 'warn'", async (_who, arrange, transaction) => {
    arrange();
    expect(await call(method, { transaction })).toBe('result');
    expect(log.join(' ')).toBe('acquire START method COMMIT committed release');
  });

  it('joins where the caller holds these keys already', async () => {
    transactions.open = undefined;
    const result = await call(async () => {
      transactions.open = { dataSource: 'default', openedAt: null };
      return call(method);
    });
    expect(result).toBe('result');
    expect(log.filter((it) => it === 'acquire' || it === 'release')).toEqual([
      'acquire',
      'release',
    ]);
  });

  it('is refused where the caller holds only some of these keys', async () => {
    transactions.open = undefined;
    const nested = call(async () => {
      transactions.open = { dataSource: 'default', openedAt: null };
      return call(method, { keys: lockKeys(['application:1', 'application:2']) });
    });
    await expect(nested).rejects.toMatchObject({ code: 'LOCK_INSIDE_TRANSACTION' });
    expect(locks.store.asked).toEqual(['acquire application:1', 'release application:1']);
  });
});

describe('a locked call that does not get the lock in time', () => {
  beforeEach(() => {
    locks.store.answerAcquire = async () => null;
  });

  it('throws', async () => {
    await expect(call(method)).rejects.toMatchObject({
      code: 'LOCK_WAIT_TIMEOUT',
      key: 'application:1',
      waitTimeMs: 500,
      methodRan: false,
      committed: false,
      retryable: true,
    });
    expect(log).toEqual([]);
    expect(locks.types).toEqual(['timed-out']);
  });

  it("resolves with undefined where onTimeout is 'skip'", async () => {
    expect(await call(method, { onTimeout: 'skip' })).toBeUndefined();
    expect(log).toEqual([]);
  });

  it('resolves with what the onTimeout function gives', async () => {
    const asked: unknown[] = [];
    const fallback = async (context: unknown) => {
      asked.push(context);
      return 'fallback';
    };
    expect(await call(method, { onTimeout: fallback })).toBe('fallback');
    expect(asked).toEqual([
      {
        keys: ['application:1'],
        method: 'QuoteService.submit',
        args: ['an argument'],
        waitTimeMs: 500,
        error: expect.any(LockWaitTimeoutError),
      },
    ]);
  });

  it('rejects with what the onTimeout function throws', async () => {
    const boom = new Error('boom');
    const onTimeout = () => {
      throw boom;
    };
    await expect(call(method, { onTimeout })).rejects.toBe(boom);
  });

  it('control: the time-out of another lock, thrown by the method, is the caller’s', async () => {
    locks.store.answerAcquire = async (request) => locks.store.grant(request);
    const other = new LockWaitTimeoutError('another', 1);
    for (const onTimeout of ['skip', () => 'fallback'] as const) {
      await expect(call(() => Promise.reject(other), { onTimeout })).rejects.toBe(other);
    }
    expect(log.filter((it) => it === 'release')).toHaveLength(2);
  });
});

describe('nested locked calls of one key', () => {
  it('share the lock; only the outermost releases', async () => {
    const result = await call(async () => {
      await call(method, { transaction: null });
      return call(method, { transaction: null });
    });
    expect(result).toBe('result');
    expect(log.join(' ')).toBe('acquire START method method COMMIT committed release');
  });

  it('whose commit has an unknown outcome keep the lock closed until its lease is over, also where the caller goes on', async () => {
    const unknown = new CommitOutcomeUnknownError('application:1');
    await call(
      async (outer) => {
        await expect(call(() => Promise.reject(unknown))).rejects.toBe(unknown);
        expect(outer.isHeld()).toBe(true);
      },
      { transaction: null },
    );
    expect(locks.store.asked).toEqual(['acquire application:1', 'abandon application:1']);
  });

  it('are told of the loss of the lock', async () => {
    const nested = call(
      () =>
        call(async () => locks.store.grants[0]!.onLost!('taken-over'), {
          transaction: null,
        }),
      { transaction: null },
    );
    await expect(nested).rejects.toBeInstanceOf(LockLostError);
  });
});
