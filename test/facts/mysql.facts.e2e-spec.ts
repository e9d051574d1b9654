import mysql, { type Connection, type ResultSetHeader, type RowDataPacket } from 'mysql2';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest';
import { randomBytes } from 'node:crypto';
import { ask } from '../contract/mysql-world.js';
import { until } from '../support/until.js';

const server = inject('mysqlUrl');

/** What the MySQL store relies on in the server and in mysql2, as running proof. */
describe.skipIf(server === null)('facts', () => {
  const table = `facts_${randomBytes(5).toString('hex')}`;
  const connections: Connection[] = [];
  beforeAll(() => ask(server!, `CREATE TABLE ${table} (slot INT PRIMARY KEY, token BIGINT)`));
  afterAll(() => ask(server!, `DROP TABLE ${table}`));
  afterEach(() => {
    for (const connection of connections.splice(0)) connection.destroy();
  });

  async function connect(): Promise<Connection> {
    const connection = mysql.createConnection(server!);
    connection.on('error', () => undefined); // broken on purpose
    connections.push(connection);
    await connection.promise().connect();
    return connection;
  }

  /** The only value of the only row. */
  async function value(connection: Connection, sql: string): Promise<unknown> {
    const [rows] = await connection.promise().query<RowDataPacket[]>(sql);
    return Object.values(rows[0] ?? {})[0];
  }

  describe('a named lock', () => {
    const name = `facts:${randomBytes(5).toString('hex')}`;

    it('is one of many that a session can hold', async () => {
      const [one, two] = [await connect(), await connect()];
      for (const n of [1, 2, 3])
        expect(await value(one, `SELECT GET_LOCK('${name}${n}', 0)`)).toBe(1);
      for (const n of [1, 2, 3])
        expect(await value(two, `SELECT GET_LOCK('${name}${n}', 0)`)).toBe(0);
    });

    it('can be taken twice by the session that has it, and then takes two releases', async () => {
      const [one, two] = [await connect(), await connect()];
      await value(one, `SELECT GET_LOCK('${name}', 0)`);
      await value(one, `SELECT GET_LOCK('${name}', 0)`);
      expect(await value(one, `SELECT RELEASE_LOCK('${name}')`)).toBe(1);
      expect(await value(two, `SELECT GET_LOCK('${name}', 0)`)).toBe(0);
      expect(await value(one, `SELECT RELEASE_LOCK('${name}')`)).toBe(1);
      expect(await value(two, `SELECT GET_LOCK('${name}', 0)`)).toBe(1);
    });

    it('is no part of a transaction, and stays after an error in the statement that took it', async () => {
      const [one, two] = [await connect(), await connect()];
      await one.promise().query('START TRANSACTION');
      await expect(
        one.promise().query(`SELECT IF(GET_LOCK('${name}', 0) = 1, (SELECT 1 UNION SELECT 2), 0)`),
      ).rejects.toThrow(/more than 1 row/);
      await one.promise().query('ROLLBACK');
      expect(await value(two, `SELECT IS_FREE_LOCK('${name}')`)).toBe(0);
    });

    it('of another session is not released, and says so without an error', async () => {
      const [one, two] = [await connect(), await connect()];
      await value(one, `SELECT GET_LOCK('${name}', 0)`);
      expect(await value(two, `SELECT RELEASE_LOCK('${name}')`)).toBe(0);
      expect(await value(two, `SELECT RELEASE_LOCK('${name}:never')`)).toBeNull();
    });

    it('CASE takes the second one only where the first is not to be had', async () => {
      const [one, two] = [await connect(), await connect()];
      const both = `SELECT CASE WHEN GET_LOCK('${name}a', 0) = 1 THEN 1 WHEN GET_LOCK('${name}b', 0) = 1 THEN 2 ELSE 0 END`;
      expect(await value(one, both)).toBe(1);
      expect(await value(one, `SELECT IS_FREE_LOCK('${name}b')`)).toBe(1);
      expect(await value(two, both)).toBe(2);
      expect(await value(await connect(), both)).toBe(0);
    });

    it('belongs to the server: another database has the same', async () => {
      const [one, two] = [await connect(), await connect()];
      await value(one, `SELECT GET_LOCK('${name}', 0)`);
      await two.promise().query('USE mysql');
      expect(await value(two, `SELECT GET_LOCK('${name}', 0)`)).toBe(0);
    });
  });

  it('a named lock tells which connection has it, and KILL of that one frees it; a connection that has gone is another error', async () => {
    const [one, two] = [await connect(), await connect()];
    const lock = `facts:${randomBytes(5).toString('hex')}`;
    expect(await value(two, `SELECT IS_USED_LOCK('${lock}')`)).toBeNull();
    await value(one, `SELECT GET_LOCK('${lock}', 0)`);
    const id = Number(await value(one, 'SELECT CONNECTION_ID()'));
    expect(await value(two, `SELECT IS_USED_LOCK('${lock}')`)).toBe(id);
    await two.promise().query(`KILL ${id}`);
    await until('the lock', async () => (await value(two, `SELECT GET_LOCK('${lock}', 0)`)) === 1);
    const kill = async (): Promise<string | undefined> =>
      two
        .promise()
        .query(`KILL ${id}`)
        .then(() => undefined)
        .catch(({ code }: { code: string }) => code);
    await until('it to be gone', async () => (await kill()) === 'ER_NO_SUCH_THREAD');
  });

  it('wait_timeout ends a silent session, not one that speaks', async () => {
    const [silent, speaking] = [await connect(), await connect()];
    const startedAt = performance.now(); // the server counts from the end of the next statement
    for (const connection of [silent, speaking])
      await connection.promise().query('SET SESSION wait_timeout = 1');
    const id = silent.threadId;
    await until('the silent session to end', async () => {
      const [rows] = await speaking
        .promise()
        .query<RowDataPacket[]>('SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = ?', [id]);
      return rows.length === 0;
    });
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(990);
  });

  it('an upsert tells the number that it counted, to the session that counted it', async () => {
    const [one, two] = [await connect(), await connect()];
    const upsert = `INSERT INTO ${table} VALUES (1, LAST_INSERT_ID(1)) ON DUPLICATE KEY UPDATE token = LAST_INSERT_ID(token + 1)`;
    const counted: number[] = [];
    for (const connection of [one, two, one, two]) {
      const [{ insertId }] = await connection.promise().query<ResultSetHeader>(upsert);
      counted.push(insertId);
    }
    expect(counted).toEqual([1, 2, 3, 4]);
  });

  it('mysql2 knows from the greeting which session it is', async () => {
    const connection = await connect();
    expect(connection.threadId).toBe(await value(connection, 'SELECT CONNECTION_ID()'));
  });

  it('mysql2 tells a lost connection to the statement that was on its way, as fatal', async () => {
    const [victim, admin] = [await connect(), await connect()];
    const answer = victim.promise().query('SELECT SLEEP(10)');
    answer.catch(() => undefined); // looked at below
    await until('the statement', async () => {
      const [rows] = await admin
        .promise()
        .query<RowDataPacket[]>(
          "SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = ? AND INFO LIKE '%SLEEP%'",
          [victim.threadId],
        );
      return rows.length === 1;
    });
    await admin.promise().query(`KILL ${victim.threadId}`);
    await expect(answer).rejects.toMatchObject({ fatal: true });
  });
});
