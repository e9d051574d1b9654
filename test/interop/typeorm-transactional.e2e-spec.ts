import { getDataSourceToken, getEntityManagerToken } from '@nestjs/typeorm';
import { lockedDataSource } from 'nestjs-distributed-lock/typeorm';
import { DataSource, type EntityManager } from 'typeorm';
import {
  addTransactionalDataSource,
  deleteDataSourceByName,
  initializeTransactionalContext,
  IsolationLevel,
  Propagation,
  runInTransaction,
  runOnTransactionCommit,
} from 'typeorm-transactional';
import { expect, it } from 'vitest';
import { rejection } from '../transaction/spec-hold.js';
import { until } from '../support/until.js';
import { add, describeInterop } from './clauses.js';
import { InteropApp } from './interop-app.js';
import { type Library, Wallet } from './library.js';
import { typeormTransactionalLibrary } from './typeorm-transactional.library.js';

initializeTransactionalContext();

const library = typeormTransactionalLibrary();

describeInterop(library, (world) => {
  const dataSource = () => world.app.nest.get<DataSource>(getDataSourceToken());

  it.each<readonly [string, () => Promise<unknown>]>([
    ['an injected repository', () => add(world.app.manager())],
    ['dataSource.manager', () => add(dataSource().manager)],
    ['dataSource.query', () => dataSource().query('UPDATE wallet SET balance = balance + 1')],
    [
      'dataSource.createQueryBuilder',
      () =>
        dataSource()
          .createQueryBuilder()
          .update(Wallet)
          .set({ balance: () => 'balance + 1' })
          .execute(),
    ],
    [
      'a nested transaction of the joined manager',
      () => dataSource().manager.transaction((nested) => add(nested)),
    ],
    ['runInTransaction', () => runInTransaction(() => add(world.app.manager()))],
  ])('%s joins the locked transaction', async (_, work) => {
    expect(await world.joins(work)).toBe(true);
  });

  it.each<readonly [string, () => Promise<unknown>]>([
    [
      'an injected EntityManager',
      () => add(world.app.nest.get<EntityManager>(getEntityManagerToken())),
    ],
    ['dataSource.transaction', () => dataSource().transaction((manager) => add(manager))],
    [
      'Propagation.REQUIRES_NEW',
      () =>
        runInTransaction(() => add(world.app.manager()), { propagation: Propagation.REQUIRES_NEW }),
    ],
    [
      'Propagation.NESTED: a second connection, no savepoint',
      () => runInTransaction(() => add(world.app.manager()), { propagation: Propagation.NESTED }),
    ],
  ])('gap of the library, as it is without a lock: %s does not join', async (_, work) => {
    expect(await world.joins(work)).toBe(false);
  });

  it('hooks of the library run after a commit, and not after a rollback that nobody saw', async () => {
    const { locks, happened } = world.app;
    const hooked = (work: () => Promise<unknown>) =>
      locks.withTransaction('spec', async () => {
        runOnTransactionCommit(() => void happened.push('hook'));
        await work();
      });
    await rejection(
      hooked(() =>
        dataSource()
          .query('SELECT nothing')
          .catch(() => undefined),
      ),
    );
    await hooked(async () => undefined);
    await until('the hook', () => happened.includes('hook'));
    expect(happened.filter((each) => each === 'hook')).toHaveLength(1);
    expect(happened.indexOf('hook')).toBeGreaterThan(happened.lastIndexOf('COMMIT'));
  });

  it('outsideTransaction() does not leave a transaction of the library: refused, and said so', async () => {
    const { locks, happened } = world.app;
    const error = await rejection(
      runInTransaction(() =>
        locks.outsideTransaction(() =>
          locks.withTransaction('wallet:a', () => add(world.app.manager())),
        ),
      ),
    );
    expect(error).toMatchObject({
      code: 'LOCK_CONFIGURATION',
      message: expect.stringContaining('did not open a transaction on DataSource "default"'),
    });
    expect(happened.slice(-2)).toEqual(['released', 'ROLLBACK']);
    expect(await world.balance()).toBe(0);
  });

  it('hold at REPEATABLE READ: a snapshot older than the lock is noticed by the fence', async () => {
    const { locks } = world.app;
    const options = { transaction: { onOpenTransaction: 'hold' } } as const;
    const error = await rejection(
      runInTransaction(
        async () => {
          await world.app.manager().findOneByOrFail(Wallet, { id: 'a' });
          await locks.outsideTransaction(() =>
            addInAnotherProcess('UPDATE wallet SET balance = 10'),
          );
          await locks.withTransaction('wallet:a', options, () => add(world.app.manager()));
        },
        { isolationLevel: IsolationLevel.REPEATABLE_READ },
      ),
    );
    expect(error).toMatchObject({ driverError: { code: '40001' } });
    expect(await world.balance()).toBe(10);
  });

  /** Under the lock, and past the fence, but with no part in the transaction of this chain. */
  async function addInAnotherProcess(sql: string): Promise<void> {
    const other = await new DataSource({
      type: 'postgres',
      url: world.urls.default,
    }).initialize();
    try {
      await other.query(sql);
      await other.query('UPDATE lock_fence SET updated_at = now()');
    } finally {
      await other.destroy();
    }
  }

  const refusedAtBoot = (changes: Partial<Library>, transactions = {}) =>
    rejection(
      InteropApp.start(
        { ...library, forget: () => undefined, ...changes },
        world.urls,
        [],
        transactions,
      ),
    );

  it('two that patch one DataSource are refused at boot: it, and ours', async () => {
    const patched: Library['dataSourceFactory'] = (options) => {
      const name = `other ${(options as { name?: string }).name}`;
      patchedNames.push(name);
      return addTransactionalDataSource({
        name,
        dataSource: new DataSource(options!),
      }).initialize();
    };
    const patchedNames: string[] = [];
    const error = await refusedAtBoot({ dataSourceFactory: patched }, { mode: undefined });
    patchedNames.forEach((name) => deleteDataSourceByName(name));
    expect(error).toMatchObject({
      code: 'LOCK_CONFIGURATION',
      message: expect.stringContaining('is patched by typeorm-transactional'),
    });
  });

  it('its mode without its DataSource is refused at boot, with advice', async () => {
    const plain = (options: ConstructorParameters<typeof DataSource>[0] | undefined) =>
      new DataSource(options!).initialize();
    expect(await refusedAtBoot({ dataSourceFactory: plain })).toMatchObject({
      code: 'LOCK_CONFIGURATION',
      message: expect.stringContaining('Call addTransactionalDataSource'),
    });
  });

  it('its mode with lockedDataSource is refused at boot', async () => {
    expect(await refusedAtBoot({ dataSourceFactory: lockedDataSource })).toMatchObject({
      code: 'LOCK_CONFIGURATION',
      message: expect.stringContaining('typeorm-transactional'),
    });
  });
});
