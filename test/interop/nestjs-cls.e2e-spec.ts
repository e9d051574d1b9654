import {
  ClsPluginTransactional,
  getTransactionHostToken,
  Propagation,
  Transactional,
  TransactionHost,
} from '@nestjs-cls/transactional';
import { TransactionalAdapterTypeOrm } from '@nestjs-cls/transactional-adapter-typeorm';
import { getDataSourceToken, getEntityManagerToken, getRepositoryToken } from '@nestjs/typeorm';
import { ClsModule } from 'nestjs-cls';
import { lockedDataSource, nestjsCls } from 'nestjs-distributed-lock/typeorm';
import { DataSource, type EntityManager, type Repository } from 'typeorm';
import { expect, it } from 'vitest';
import { rejection } from '../transaction/spec-hold.js';
import { add, describeInterop } from './clauses.js';
import { InteropApp } from './interop-app.js';
import { DATA_SOURCES, type DataSourceName, type Library, Wallet } from './library.js';

/** The library's own name for the default connection is none. */
const connection = (dataSource: DataSourceName) =>
  dataSource === 'default' ? {} : { connectionName: dataSource };

const library: Library = {
  name: '@nestjs-cls/transactional',
  mode: nestjsCls({ TransactionHost }),
  Transactional,
  imports: [
    ClsModule.forRoot({
      plugins: DATA_SOURCES.map(
        (name) =>
          new ClsPluginTransactional({
            ...connection(name),
            adapter: new TransactionalAdapterTypeOrm({
              dataSourceToken: getDataSourceToken(name) as string,
            }),
          }),
      ),
    }),
  ],
  dataSourceFactory: (options) => new DataSource(options!).initialize(),
  inTransaction: (work) => TransactionHost.getInstance().withTransaction(work),
  manager: (app, dataSource) =>
    app.get<TransactionHost<TransactionalAdapterTypeOrm>>(
      getTransactionHostToken(connection(dataSource).connectionName),
      { strict: false },
    ).tx,
  forget: () => undefined,
};

describeInterop(library, (world) => {
  const dataSource = () => world.app.nest.get<DataSource>(getDataSourceToken());
  const host = () => TransactionHost.getInstance();

  it.each<readonly [string, () => Promise<unknown>]>([
    ['txHost.tx', () => add(world.app.manager())],
    ['withTransaction', () => host().withTransaction(() => add(world.app.manager()))],
    [
      'Propagation.Nested: a savepoint',
      () => host().withTransaction(Propagation.Nested, () => add(world.app.manager())),
    ],
  ])('%s joins the locked transaction', async (_, work) => {
    expect(await world.joins(work)).toBe(true);
  });

  it.each<readonly [string, () => Promise<unknown>]>([
    [
      'an injected repository',
      () => add(world.app.nest.get<Repository<Wallet>>(getRepositoryToken(Wallet)).manager),
    ],
    [
      'an injected EntityManager',
      () => add(world.app.nest.get<EntityManager>(getEntityManagerToken())),
    ],
    ['dataSource.transaction', () => dataSource().transaction((manager) => add(manager))],
    [
      'Propagation.RequiresNew',
      () => host().withTransaction(Propagation.RequiresNew, () => add(world.app.manager())),
    ],
  ])('gap of the library, as it is without a lock: %s does not join', async (_, work) => {
    expect(await world.joins(work)).toBe(false);
  });

  it('a savepoint of the library that fails is undone alone', async () => {
    await world.app.locks.withTransaction('wallet:a', async () => {
      await add(world.app.manager());
      await rejection(
        host().withTransaction(Propagation.Nested, async () => {
          await add(world.app.manager());
          throw new Error('no');
        }),
      );
    });
    expect(await world.balance()).toBe(1);
  });

  it('the library knows that it is inside: isTransactionActive(), and not after the end', async () => {
    const inside = await world.app.locks.withTransaction('spec', async () =>
      host().isTransactionActive(),
    );
    expect([inside, host().isTransactionActive()]).toEqual([true, false]);
  });

  it('outsideTransaction() gets a locked transaction of its own inside one of the library', async () => {
    const { locks } = world.app;
    await rejection(
      host().withTransaction(async () => {
        await locks.outsideTransaction(() =>
          locks.withTransaction('wallet:a', () => add(world.app.manager())),
        );
        throw new Error('no');
      }),
    );
    expect(await world.balance()).toBe(1); // committed by itself
  });

  const refusedAtBoot = (dataSourceFactory: Library['dataSourceFactory']) =>
    rejection(InteropApp.start({ ...library, dataSourceFactory }, world.urls));

  it('two that decide who joins one DataSource are refused at boot: it, and ours', async () => {
    expect(await refusedAtBoot(lockedDataSource)).toMatchObject({
      code: 'LOCK_CONFIGURATION',
      message: expect.stringContaining('@nestjs-cls/transactional'),
    });
  });

  it('a connection that is not that of the DataSource is refused: nothing runs', async () => {
    const crossed: Library = {
      ...library,
      imports: [
        ClsModule.forRoot({
          plugins: [
            new ClsPluginTransactional({
              adapter: new TransactionalAdapterTypeOrm({
                dataSourceToken: getDataSourceToken('audit') as string,
              }),
            }),
          ],
        }),
      ],
    };
    const before = host(); // of the application under test: the class remembers only the last one
    const app = await InteropApp.start(crossed, world.urls);
    try {
      let ran = false;
      const error = await rejection(
        app.locks.withTransaction('wallet:a', async () => {
          ran = true;
        }),
      );
      expect(error).toMatchObject({
        code: 'LOCK_CONFIGURATION',
        message: expect.stringContaining('did not open a transaction on DataSource "default"'),
      });
      expect(ran).toBe(false);
    } finally {
      await app.close();
      expect(host()).not.toBe(before);
    }
  });
});
