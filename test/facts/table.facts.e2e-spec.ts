import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DataSource, type DataSourceOptions, type QueryRunner } from 'typeorm';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { dialectOf } from '../../src/distributed-lock/store/table/table.dialect.js';

const folder = mkdtempSync(join(tmpdir(), 'table-facts-'));
afterAll(() => rmSync(folder, { recursive: true }));

const [postgres, mariadb] = [inject('databaseUrl'), inject('mysqlUrl')];
const DATABASES: readonly DataSourceOptions[] = [
  ...(postgres === null ? [] : [{ type: 'postgres', url: postgres } as const]),
  ...(mariadb === null ? [] : [{ type: 'mariadb', url: mariadb } as const]),
  { type: 'better-sqlite3', database: join(folder, 'facts.sqlite') },
];

/** What the table store relies on in databases and in TypeORM's drivers, as running proof. */
describe.each(DATABASES)('facts: $type', (options) => {
  const dialect = dialectOf(options.type);
  let dataSource: DataSource;
  let runner: QueryRunner;
  const query = (sql: string, values: unknown[] = []) =>
    runner.query(dialect.native(sql), values, true);
  beforeAll(async () => {
    dataSource = await new DataSource({
      ...options,
      poolSize: 1,
    } as DataSourceOptions).initialize();
    runner = dataSource.createQueryRunner();
    await query('DROP TABLE IF EXISTS "table_facts"');
    await query('CREATE TABLE "table_facts" (id varchar(64) PRIMARY KEY, turn bigint NOT NULL)');
  });
  afterAll(async () => {
    await query('DROP TABLE "table_facts"');
    await runner.release();
    await dataSource.destroy();
  });

  it('its clock counts whole milliseconds since 1970, whatever the time zone of the session', async () => {
    if (options.type === 'mariadb') await query("SET time_zone = '+09:00'");
    const before = Date.now();
    const { records } = await query(`SELECT ${dialect.now} AS at`);
    const at = Number((records as { at: string | number }[])[0]!.at);
    expect(Number.isInteger(at)).toBe(true);
    // The servers of the tests run on this machine, so on this clock.
    expect(Math.abs(at - before)).toBeLessThan(2_000);
  });

  it('an insert of a row that is there does nothing, and says so', async () => {
    const insert = () =>
      query(
        `${dialect.insertNew(`"table_facts" (id, turn) VALUES (?, ${dialect.told('41')})`)}${dialect.tellTurn}`,
        ['a'],
      );
    expect(dialect.turnOf(await insert())).toBe(41n);
    expect(dialect.turnOf(await insert())).toBeNull();
  });

  it('an update tells the turn that it set; one that meets no row, none', async () => {
    await query('DELETE FROM "table_facts"');
    await query('INSERT INTO "table_facts" (id, turn) VALUES (?, 1)', ['b']);
    const set = dialect.told(`${dialect.greatest}(turn + 1, 1760000000000)`);
    const update = (id: string) =>
      query(`UPDATE "table_facts" SET turn = ${set} WHERE id = ?${dialect.tellTurn}`, [id]);
    expect(dialect.turnOf(await update('b'))).toBe(1760000000000n);
    expect(dialect.turnOf(await update('b'))).toBe(1760000000001n);
    expect(dialect.turnOf(await update('c'))).toBeNull();
  });

  it('an update that changes nothing counts the rows it met', async () => {
    await query('DELETE FROM "table_facts"');
    await query('INSERT INTO "table_facts" (id, turn) VALUES (?, 1)', ['d']);
    expect((await query('UPDATE "table_facts" SET turn = 1 WHERE id = ?', ['d'])).affected).toBe(1);
    expect((await query('UPDATE "table_facts" SET turn = 1 WHERE id = ?', ['e'])).affected).toBe(0);
  });
});
