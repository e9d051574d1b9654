import { fenceDdl } from 'nestjs-distributed-lock/typeorm';
import { Client } from 'pg';
import { createDatabase } from '../support/services.js';
import { databaseUrl } from '../support/with-services.js';

/** A database with one table of counters. */
export interface CounterDatabase {
  readonly url: string;
  readonly client: Client;
  /** A new counter at 0. */
  counter(id: string): Promise<string>;
  value(id: string): Promise<number>;
  drop(): Promise<void>;
}

/** @param commitMs how long each COMMIT that wrote a counter takes at least. */
export async function counterDatabase(name: string, commitMs = 0): Promise<CounterDatabase> {
  const database = await createDatabase(databaseUrl(), name);
  const client = new Client(database.url);
  await client.connect();
  await client.query('CREATE TABLE counter (id text PRIMARY KEY, value int NOT NULL)');
  for (const statement of fenceDdl('postgres')) await client.query(statement);
  if (commitMs > 0) {
    // A deferred constraint trigger runs inside COMMIT.
    await client.query(`
      CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(${commitMs / 1_000}); RETURN NULL; END $$;
      CREATE CONSTRAINT TRIGGER slow_commit AFTER UPDATE ON counter
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()`);
  }
  return {
    url: database.url,
    client,
    async counter(id) {
      await client.query('INSERT INTO counter (id, value) VALUES ($1, 0)', [id]);
      return id;
    },
    async value(id) {
      const { rows } = await client.query<{ value: number }>(
        'SELECT value FROM counter WHERE id = $1',
        [id],
      );
      return rows[0]!.value;
    },
    async drop() {
      await client.end();
      await database.drop();
    },
  };
}
