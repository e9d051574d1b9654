import { getDataSourceToken, TypeOrmModule } from '@nestjs/typeorm';
import { Test } from '@nestjs/testing';
import { lockedDataSource } from 'nestjs-distributed-lock/typeorm';
import { DataSource } from 'typeorm';
import { expect, it } from 'vitest';

const options = { type: 'better-sqlite3', database: ':memory:' } as const;

/** Of TypeORM 1; in 0.3 it was called `connection`. */
const isOfVersion1 = (dataSource: DataSource) => 'dataSource' in dataSource.manager;

it('is what specs, sources and @nestjs/typeorm import in this project', async () => {
  const app = await Test.createTestingModule({
    imports: [TypeOrmModule.forRoot(options)],
  }).compile();
  const locked = await lockedDataSource(options);
  const all = [new DataSource(options), locked, app.get<DataSource>(getDataSourceToken())];
  expect(all.map(isOfVersion1)).toEqual([false, false, false]);
  expect(all.every((each) => each instanceof DataSource)).toBe(true);
  await locked.destroy();
  await app.close();
});
