import { Injectable } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import {
  DistributedLock,
  DistributedLockService,
  InjectDistributedLock,
  LockLostError,
  LockStoreUnavailableError,
  LockWaitTimeoutError,
} from 'nestjs-distributed-lock';
import {
  DistributedLockTestingModule,
  FakeDistributedLockService,
  raceTogether,
} from 'nestjs-distributed-lock/testing';
import { describe, expect, it, onTestFinished } from 'vitest';

@Injectable()
class Jobs {
  readonly done: string[] = [];

  constructor(private readonly locks: DistributedLockService) {}

  run(name: string): Promise<string> {
    return this.locks.withLock(name, { waitTime: '3s' }, async () => {
      this.done.push(name);
      return `${name} done`;
    });
  }
}

describe('a class that is given the fake', () => {
  it('works as ever, one at a time, and every attempt is recorded', async () => {
    const locks = new FakeDistributedLockService();
    const jobs = new Jobs(locks);
    const { values } = await raceTogether(3, () => jobs.run('job1'));
    expect(values).toEqual(['job1 done', 'job1 done', 'job1 done']);
    const call = { key: 'job1', waitTimeMs: 3_000, leaseTimeMs: 30_000, admission: null };
    expect(locks.calls).toEqual(
      Array.from({ length: 3 }, () => ({ ...call, outcome: 'released' })),
    );
  });

  it('meets a busy key at once, whatever its wait time', async () => {
    const locks = new FakeDistributedLockService();
    const jobs = new Jobs(locks);
    locks.simulate('busy', 'job1');
    await expect(jobs.run('job1')).rejects.toBeInstanceOf(LockWaitTimeoutError);
    expect(await locks.tryAcquire('job1')).toBeNull();
    await jobs.run('job2');
    expect(jobs.done).toEqual(['job2']);
    expect(locks.calls.map(({ key, outcome }) => [key, outcome])).toEqual([
      ['job1', 'busy'],
      ['job1', 'busy'],
      ['job2', 'released'],
    ]);
  });

  it('meets a store that is away: for one key, or for all', async () => {
    const locks = new FakeDistributedLockService();
    const jobs = new Jobs(locks);
    locks.simulate('unavailable');
    await expect(jobs.run('job1')).rejects.toBeInstanceOf(LockStoreUnavailableError);
    expect(locks.calls).toMatchObject([{ key: 'job1', outcome: 'unavailable' }]);
    locks.reset();
    expect(await jobs.run('job1')).toBe('job1 done');
    expect(locks.calls).toHaveLength(1);
  });

  it('is told that it lost the lock, before its work or in the middle of it', async () => {
    const locks = new FakeDistributedLockService();
    locks.simulate('lost', 'job1');
    await expect(new Jobs(locks).run('job1')).rejects.toBeInstanceOf(LockLostError);
    locks.reset();
    const outcome = locks.withLock('job1', async (hold) => {
      expect(hold.isHeld()).toBe(true);
      locks.lose('job1');
      expect(hold.lost.aborted).toBe(true);
    });
    await expect(outcome).rejects.toMatchObject({ code: 'LOCK_LOST', methodRan: true });
    expect(await new Jobs(locks).run('job1'), 'and the key is free again').toBe('job1 done');
  });

  it('runs transactions on the manager it was given, and none commits under a lost lock', async () => {
    const manager = { saved: [] as string[] };
    const locks = new FakeDistributedLockService({ manager });
    const save = () =>
      locks.withTransaction<void, typeof manager>('job1', async (locked) => {
        locked.manager.saved.push('row');
      });
    await save();
    locks.simulate('lost');
    await expect(save()).rejects.toBeInstanceOf(LockLostError);
    expect(manager.saved).toEqual(['row', 'row']);
    expect(locks.transactions).toEqual(['committed', 'rolled-back']);
  });

  it('shows who holds a key, and ends holds by force', async () => {
    const locks = new FakeDistributedLockService();
    const hold = await locks.acquire('job1');
    const { isHeld, holders } = await locks.stateOf('job1');
    expect(isHeld).toBe(true);
    expect(holders).toMatchObject([{ mode: 'exclusive', fencingToken: hold.fencingToken }]);
    expect(await locks.forceRelease('job1')).toBe(1);
    expect(hold.lost.reason).toBeInstanceOf(LockLostError);
    expect(await locks.stateOf('job1')).toMatchObject({ isHeld: false, holders: [] });
    locks.simulate('busy', 'job1');
    expect(await locks.stateOf('job1')).toMatchObject({ isHeld: true });
    locks.simulate('unavailable');
    await expect(locks.stateOf('job2')).rejects.toBeInstanceOf(LockStoreUnavailableError);
    await expect(locks.forceRelease('job2')).rejects.toBeInstanceOf(LockStoreUnavailableError);
  });

  it('refuses wrong options as the real one does', () => {
    expect(() => new FakeDistributedLockService({ waitTime: 'soon' as never })).toThrow(
      '"waitTime"',
    );
  });
});

@Injectable()
class Quotes {
  readonly submitted: string[] = [];

  constructor(@InjectDistributedLock() private readonly locks: DistributedLockService) {}

  @DistributedLock({ key: 'application:{id}', transaction: { isolation: 'SERIALIZABLE' } })
  async submit(id: string): Promise<number> {
    this.submitted.push(id);
    return this.submitted.length;
  }

  peek(id: string): Promise<boolean> {
    return this.locks.tryAcquire(`application:${id}`).then((hold) => hold === null);
  }
}

describe('an application with the testing module', () => {
  async function start() {
    const module = await Test.createTestingModule({
      imports: [DistributedLockTestingModule.forRoot()],
      providers: [Quotes],
    }).compile();
    await module.init();
    onTestFinished(() => module.close());
    return { quotes: module.get(Quotes), locks: module.get(FakeDistributedLockService) };
  }

  it('runs decorated methods and records their locks and transactions', async () => {
    const { quotes, locks } = await start();
    expect(await quotes.submit('42')).toBe(1);
    expect(locks.calls).toMatchObject([{ key: 'application:42', outcome: 'released' }]);
    expect(locks.transactions).toEqual(['committed']);
  });

  it('lets a test hold the key itself', async () => {
    const { quotes, locks } = await start();
    const hold = await locks.acquire('application:42');
    expect(await quotes.peek('42')).toBe(true);
    const submitted = quotes.submit('42');
    expect(quotes.submitted).toEqual([]);
    await hold.release();
    expect(await submitted).toBe(1);
  });

  it('simulates busy, lost and unavailable for decorated methods', async () => {
    const { quotes, locks } = await start();
    locks.simulate('busy', 'application:1');
    locks.simulate('lost', 'application:2');
    locks.simulate('unavailable', 'application:3');
    await expect(quotes.submit('1')).rejects.toMatchObject({ methodRan: false, retryable: true });
    await expect(quotes.submit('2')).rejects.toBeInstanceOf(LockLostError);
    await expect(quotes.submit('3')).rejects.toBeInstanceOf(LockStoreUnavailableError);
    expect(await quotes.submit('4')).toBe(quotes.submitted.length);
    expect(locks.transactions.at(-1)).toBe('committed');
  });
});
