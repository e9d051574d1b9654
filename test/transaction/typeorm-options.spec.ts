import { DataSource } from 'typeorm';
import { describe, expect, it } from 'vitest';
import { LockConfigurationError } from '../../src/distributed-lock/distributed-lock.errors.js';
import { typeormTransactions } from '../../src/distributed-lock/transaction/typeorm/index.js';
import type { TypeOrmTransactionsOptions } from '../../src/distributed-lock/transaction/typeorm/index.js';
import type { TransactionOptions } from '../../src/distributed-lock/transaction/transaction-runner.js';

describe('typeormTransactions', () => {
  it.each<[unknown, string]>([
    [{ datasource: 'x' }, 'Option "transactions.datasource" is not known'],
    [{ dataSource: '' }, 'Option "transactions.dataSource" is ""'],
    [{ dataSource: 7 }, 'Option "transactions.dataSource" is 7'],
    [{ dataSource: [] }, 'Option "transactions.dataSource" is []'],
    [{ dataSource: ['a', null] }, 'Option "transactions.dataSource" is ["a",null]'],
    [
      { onOpenTransaction: 'ignore' },
      `Option "transactions.onOpenTransaction" is "ignore"; allowed: 'reject', 'hold', 'warn'.`,
    ],
    [{ recordPlaces: 'yes' }, 'Option "transactions.recordPlaces" is "yes"; allowed: true, false.'],
    [{ onWarning: console }, 'Option "transactions.onWarning" is'],
    [{ fence: 'yes' }, 'Option "transactions.fence" is "yes"; allowed: true, false, or an object'],
    [{ fence: { tabel: 'x' } }, 'Option "transactions.fence.tabel" is not known'],
    [{ fence: { table: 'a.b.c' } }, 'Option "transactions.fence.table" is "a.b.c"'],
    [{ fence: { table: 7 } }, 'Option "transactions.fence.table" is 7'],
    [
      { fence: { prepared: 1 } },
      'Option "transactions.fence.prepared" is 1; allowed: true, false.',
    ],
    [{ fence: { dialect: 'oracle' } }, 'Option "transactions.fence.dialect" is "oracle"'],
    [{ retry: true }, 'Option "transactions.retry" is true; allowed: false, or { attempts }'],
    [{ retry: { attempts: 0 } }, 'Option "transactions.retry" is {"attempts":0}'],
    [{ retry: { times: 3 } }, 'Option "transactions.retry.times" is not known'],
    [{ maxHold: '1ms' }, 'Option "transactions.maxHold" is "1ms"; allowed: 100 ms to'],
  ])('refuses %j', (options, message) => {
    const make = () => typeormTransactions(options as TypeOrmTransactionsOptions);
    expect(make).toThrow(LockConfigurationError);
    expect(make).toThrow(message);
  });

  it.each<[unknown, string]>([
    [{ isolated: true }, 'Option "transaction.isolated" is not known'],
    [
      { isolation: 'read committed' },
      `Option "transaction.isolation" is "read committed"; allowed: 'READ UNCOMMITTED', `,
    ],
    [{ onOpenTransaction: true }, 'Option "transaction.onOpenTransaction" is true'],
    [{ dataSource: 3 }, 'Option "transaction.dataSource" is 3'],
    [{ fenced: 'no' }, 'Option "transaction.fenced" is "no"; allowed: true, false.'],
    [{ retry: 3 }, 'Option "transaction.retry" is 3'],
    [{ maxHold: 'long' }, 'Option "transaction.maxHold" is "long"'],
  ])('refuses the options of a call: %j', (options, message) => {
    const check = () => typeormTransactions().check(options as TransactionOptions);
    expect(check).toThrow(LockConfigurationError);
    expect(check).toThrow(message);
  });

  it('accepts what is allowed, also before it knows any DataSource', () => {
    const transactions = typeormTransactions({
      dataSource: ['a', 'b'],
      onOpenTransaction: 'warn',
      recordPlaces: false,
    });
    transactions.check({ dataSource: 'b', isolation: 'SERIALIZABLE', onOpenTransaction: 'reject' });
    expect(transactions.onOpenTransaction({})).toBe('warn');
    expect(transactions.openTransaction()).toBeUndefined();
  });

  it('refuses an isolation level that the database does not have', () => {
    const dataSource = new DataSource({ type: 'postgres' });
    Object.assign(dataSource.driver, { supportedIsolationLevels: ['READ COMMITTED'] });
    const transactions = typeormTransactions({ dataSource });
    transactions.check({ isolation: 'READ COMMITTED' });
    expect(() => transactions.check({ isolation: 'SERIALIZABLE' })).toThrow(
      'Option "transaction.isolation" is "SERIALIZABLE"; allowed for postgres: "READ COMMITTED".',
    );
  });

  describe('a DataSource whose driver has one query runner for everybody', () => {
    const phone = () =>
      new DataSource({
        type: 'expo',
        database: 'x',
        driver: { openDatabaseAsync: () => undefined },
      });

    it('is refused if it is asked for', () => {
      expect(() => typeormTransactions({ dataSource: phone() })).toThrow('has type "expo"');
      expect(() => typeormTransactions().adopt([phone()])).toThrow('has type "expo"');
    });

    it('is left alone beside one that can be used', () => {
      const server = new DataSource({ type: 'postgres' });
      const beside = phone();
      const { createQueryRunner } = beside;
      typeormTransactions().adopt([beside, server]);
      expect(beside.createQueryRunner).toBe(createQueryRunner);
      expect(server.createQueryRunner).not.toBe(DataSource.prototype.createQueryRunner);
    });
  });
});
