import { type INestApplicationContext, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { InjectRepository, TypeOrmModule } from '@nestjs/typeorm';
import { DistributedLock, DistributedLockModule, memoryStore } from 'nestjs-distributed-lock';
import { typeormTransactions } from 'nestjs-distributed-lock/typeorm';
import { Repository } from 'typeorm';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { describeWith } from '../support/with-services.js';
import { Account, SpecDatabase } from './database.js';
import { rejection } from './spec-hold.js';

const CALLS = 60;

@Injectable()
class Ledgers {
  constructor(
    @InjectRepository(Account) private readonly accounts: Repository<Account>,
    @InjectRepository(Account, 'audit') private readonly audited: Repository<Account>,
  ) {}

  @DistributedLock('account:{0}')
  async add(_id: number): Promise<void> {
    await this.addUnlocked(this.accounts);
  }

  @DistributedLock({ key: 'account:{0}', transaction: { dataSource: 'audit' } })
  async audit(_id: number): Promise<void> {
    await this.addUnlocked(this.audited);
  }

  /** Under one lock, in a transaction of each database: the inner one commits by itself, and first. */
  @DistributedLock('account:{0}')
  async both(id: number, afterwards: () => void = () => undefined): Promise<void> {
    await this.addUnlocked(this.accounts);
    await this.audit(id);
    afterwards();
  }

  @DistributedLock('account:{0}')
  async auditAnother(id: number): Promise<void> {
    await this.audit(id + 1);
  }

  @DistributedLock({ key: 'account:{0}', transaction: { dataSource: 'audit' } })
  async addThenThrow(_id: number): Promise<void> {
    await this.addUnlocked(this.accounts);
    await this.addUnlocked(this.audited);
    throw new Error('no');
  }

  addUnlocked = async (accounts: Repository<Account>): Promise<void> => {
    const account = await accounts.findOneByOrFail({ id: 1 });
    await accounts.update(1, { balance: account.balance + 1 });
  };

  unlocked(): Promise<void> {
    return this.addUnlocked(this.audited);
  }
}

@Injectable()
class Misnamed {
  @DistributedLock({ key: 'a', transaction: { dataSource: 'oudit' } })
  async run(): Promise<void> {}
}

describeWith('postgres')('two DataSources of one application', () => {
  let main: SpecDatabase;
  let audit: SpecDatabase;
  let app: INestApplicationContext;
  let ledgers: Ledgers;

  const start = (providers: Parameters<typeof Module>[0]['providers'] = []) => {
    class AppModule {}
    Module({
      imports: [
        TypeOrmModule.forRoot({ ...main.options(), synchronize: true }),
        TypeOrmModule.forRoot({ ...audit.options({ name: 'audit' }), synchronize: true }),
        TypeOrmModule.forFeature([Account]),
        TypeOrmModule.forFeature([Account], 'audit'),
        DistributedLockModule.forRoot({
          store: memoryStore(),
          transactions: typeormTransactions(),
        }),
      ],
      providers: [...providers],
    })(AppModule);
    return NestFactory.createApplicationContext(AppModule, { logger: false, abortOnError: false });
  };

  beforeAll(async () => {
    main = await SpecDatabase.create('several_main');
    audit = await SpecDatabase.create('several_audit');
    app = await start([Ledgers]);
    ledgers = app.get(Ledgers);
  });
  afterAll(async () => {
    await app?.close();
    await main?.close();
    await audit?.close();
  });
  beforeEach(async () => {
    for (const database of [main, audit]) {
      await database.empty();
      await database.observer.query(`INSERT INTO account VALUES (1, 'ann', 0)`);
      await database.observer.query('DELETE FROM lock_fence');
    }
  });

  const balances = () =>
    Promise.all(
      [main, audit].map(async ({ observer }) => {
        const [row] = await observer.query<{ balance: number }[]>('SELECT balance FROM account');
        return row!.balance;
      }),
    );
  const fences = () =>
    Promise.all(
      [main, audit].map(async ({ observer }) => {
        const rows = await observer.query<{ lock_key: string }[]>(
          'SELECT lock_key FROM lock_fence',
        );
        return rows.map((row) => row.lock_key.replace(/^.*?:/, ''));
      }),
    );
  const atOnce = (call: (n: number) => Promise<void>) =>
    Promise.all(Array.from({ length: CALLS }, (_, n) => call(n)));

  it('each method has its transaction where it asks for it: no update of either is lost', async () => {
    await atOnce((n) => (n % 3 === 0 ? ledgers.audit(1) : ledgers.add(1)));
    expect(await balances()).toEqual([40, 20]);
  });

  it('control: without the lock, updates are lost', async () => {
    await atOnce(() => ledgers.unlocked());
    expect((await balances())[1]).toBeLessThan(CALLS);
  });

  it('the fence stands in the database of the transaction', async () => {
    await ledgers.add(1);
    await ledgers.audit(2);
    expect(await fences()).toEqual([['account:1'], ['account:2']]);
  });

  it('only repositories of that DataSource are in the transaction', async () => {
    await rejection(ledgers.addThenThrow(1));
    expect(await balances()).toEqual([1, 0]);
  });

  it('a nested call under the same key has a transaction of its own in the other one, and its own fence', async () => {
    await atOnce(() => ledgers.both(1));
    expect(await balances()).toEqual([CALLS, CALLS]);
    expect(await fences()).toEqual([['account:1'], ['account:1']]);
  });

  it('they end one by one: the outer one may still be rolled back', async () => {
    const error = new Error('no');
    const thrown = await rejection(
      ledgers.both(1, () => {
        throw error;
      }),
    );
    expect(thrown).toBe(error);
    expect(await balances()).toEqual([0, 1]);
  });

  it('another key inside is refused, in whichever DataSource', async () => {
    const error = await rejection(ledgers.auditAnother(1));
    expect(error).toMatchObject({ code: 'LOCK_INSIDE_TRANSACTION', methodRan: false });
    expect(await balances()).toEqual([0, 0]);
  });

  it('a name that no DataSource has is refused at boot', async () => {
    expect(await rejection(start([Misnamed]))).toMatchObject({
      code: 'LOCK_CONFIGURATION',
      message: expect.stringMatching(/"oudit"; allowed: "default", "audit"/),
    });
  });
});
