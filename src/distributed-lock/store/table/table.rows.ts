import { createHash } from 'node:crypto';
import type { LockKey } from '../../key/lock-key.js';
import type { TableConnection } from './table.connection.js';
import { COLUMNS, quotedTable } from './table.schema.js';

/** What a look at a busy row says. */
export interface RowState {
  readonly owner: string;
  /** Until the lease is over, in milliseconds. */
  readonly leftMs: number;
  readonly waiter: string;
  /** How long the waiter's mark still counts, in milliseconds. */
  readonly waitsMs: number;
}

/** A row that is closed. */
export interface HeldRow {
  /** {@link KEPT} where nobody has it. */
  readonly owner: string;
  readonly turn: bigint;
  /** Until the lease is over, in milliseconds. */
  readonly leftMs: number;
}

/** An owner id that no process has: it has no `:`. The row is closed although nobody has it. */
export const KEPT = 'kept';

/** How long a mark that a process waits counts, in milliseconds. */
const MARK_MS = 2_000;

/** The statements of the lock table. Each is atomic, commits by itself, and may be repeated. */
export class TableRows {
  readonly #table: string;
  readonly #now: string;
  #namespace = '';

  constructor(
    private readonly connection: TableConnection,
    table: string,
    /** Name of this process in marks; owner ids start with it. */
    private readonly process: string,
  ) {
    this.#table = quotedTable(table);
    this.#now = connection.dialect.now;
  }

  set namespace(namespace: string) {
    this.#namespace = namespace;
  }

  /** @throws what the driver throws if the table is not there or has other columns. */
  async verify(): Promise<void> {
    await this.connection.query(`SELECT ${COLUMNS.join(', ')} FROM ${this.#table} WHERE 1 = 0`, []);
  }

  /** Changes nothing; the database says whether it could. */
  async probeWrite(): Promise<void> {
    await this.connection.query(`UPDATE ${this.#table} SET owner = '' WHERE id = ''`, []);
  }

  /** Takes a row that is free, over, or this owner's already. @returns the number of the turn. */
  take(key: LockKey, owner: string, leaseMs: number): Promise<bigint | null> {
    const { told, greatest, tellTurn } = this.connection.dialect;
    return this.#turn(
      `UPDATE ${this.#table} SET owner = ?, turn = ${told(`${greatest}(turn + 1, ${this.#now})`)}, expires_at = ${this.#now} + ?
       WHERE id = ? AND (owner = '' OR owner = ? OR expires_at <= ${this.#now})${tellTurn}`,
      [owner, leaseMs, this.#id(key), owner],
    );
  }

  /** Takes a key that has no row. Its turns start at the clock, above those of a row that was deleted. */
  insert(key: LockKey, owner: string, leaseMs: number): Promise<bigint | null> {
    const { told, insertNew, tellTurn } = this.connection.dialect;
    const name = `${this.#namespace}:${key}`
      .replaceAll('\0', '\u2400')
      .slice(0, 255)
      .toWellFormed();
    return this.#turn(
      `${insertNew(`${this.#table} (${COLUMNS.join(', ')}) VALUES (?, ?, ?, ${told(this.#now)}, ${this.#now} + ?, '', 0)`)}${tellTurn}`,
      [this.#id(key), name, owner, leaseMs],
    );
  }

  /** @returns `null` where the key has no row. */
  async look(key: LockKey): Promise<RowState | null> {
    const { records } = await this.connection.query(
      `SELECT owner, expires_at - ${this.#now} AS left_ms, waiter, waits_until - ${this.#now} AS waits_ms FROM ${this.#table} WHERE id = ?`,
      [this.#id(key)],
    );
    const [row] = (records ?? []) as Record<string, string | number>[];
    if (!row) return null;
    return {
      owner: String(row.owner),
      leftMs: row.owner === '' ? 0 : Number(row.left_ms),
      waiter: String(row.waiter),
      waitsMs: Number(row.waits_ms),
    };
  }

  /** Whose the row is, with the number of the turn; `null` where it is nobody's. */
  async held(key: LockKey): Promise<HeldRow | null> {
    const { records } = await this.connection.query(
      `SELECT owner, turn, expires_at - ${this.#now} AS left_ms FROM ${this.#table} WHERE id = ?`,
      [this.#id(key)],
    );
    const [row] = (records ?? []) as Record<string, string | number>[];
    if (!row || row.owner === '' || Number(row.left_ms) <= 0) return null;
    return { owner: String(row.owner), turn: BigInt(row.turn!), leftMs: Number(row.left_ms) };
  }

  /** Says that this process waits and goes next, unless another one does. @returns whether the mark stands. */
  async mark(key: LockKey, { owner, waiter, waitsMs }: RowState): Promise<boolean> {
    if (waiter === this.process && waitsMs > MARK_MS / 2) return true;
    const holder = owner.split(':')[0] ?? '';
    if (waiter !== this.process && waiter !== holder && waitsMs > 0) return false;
    return this.#changed(
      `UPDATE ${this.#table} SET waiter = ?, waits_until = ${this.#now} + ${MARK_MS}
       WHERE id = ? AND (waiter = ? OR waiter = ? OR waits_until <= ${this.#now})`,
      [this.process, this.#id(key), this.process, holder],
    );
  }

  unmark(key: LockKey): Promise<boolean> {
    return this.#changed(`UPDATE ${this.#table} SET waits_until = 0 WHERE id = ? AND waiter = ?`, [
      this.#id(key),
      this.process,
    ]);
  }

  /** Frees the row if another process has marked it. */
  passToWaiter(key: LockKey, owner: string): Promise<boolean> {
    return this.#changed(
      `UPDATE ${this.#table} SET owner = '', expires_at = ${this.#now}
       WHERE id = ? AND owner = ? AND expires_at > ${this.#now} AND waiter <> ? AND waits_until > ${this.#now}`,
      [this.#id(key), owner, this.process],
    );
  }

  /** A fresh turn of the owner that has the row. */
  nextTurn(key: LockKey, owner: string, leaseMs: number): Promise<bigint | null> {
    const { told, greatest, tellTurn } = this.connection.dialect;
    return this.#turn(
      `UPDATE ${this.#table} SET turn = ${told(`${greatest}(turn + 1, ${this.#now})`)}, expires_at = ${greatest}(expires_at, ${this.#now} + ?)
       WHERE id = ? AND owner = ? AND expires_at > ${this.#now}${tellTurn}`,
      [leaseMs, this.#id(key), owner],
    );
  }

  /** @returns the owners that still have their rows; their leases are at least `leaseMs` from now. */
  async renew(
    turns: readonly { readonly key: LockKey; readonly owner: string }[],
    leaseMs: number,
  ): Promise<ReadonlySet<string>> {
    const { greatest } = this.connection.dialect;
    const places = turns.map(() => '?').join(', ');
    const ids = turns.map(({ key }) => this.#id(key));
    const owners = turns.map(({ owner }) => owner);
    const where = `id IN (${places}) AND owner IN (${places})`;
    const { affected } = await this.connection.query(
      `UPDATE ${this.#table} SET expires_at = ${greatest}(expires_at, ${this.#now} + ?) WHERE ${where} AND expires_at > ${this.#now}`,
      [leaseMs, ...ids, ...owners],
    );
    if (affected === turns.length) return new Set(owners);
    // A lease that was renewed outlives this question; one that was not may end before it, but never comes back.
    const { records } = await this.connection.query(
      `SELECT owner FROM ${this.#table} WHERE ${where} AND expires_at > ${this.#now}`,
      [...ids, ...owners],
    );
    return new Set(((records ?? []) as { owner: string }[]).map(({ owner }) => owner));
  }

  /** @param unmark this process waits no more. @returns whether the row was this owner's until now. */
  release(key: LockKey, owner: string, unmark: boolean): Promise<boolean> {
    const waits = unmark
      ? `, waits_until = CASE WHEN waiter = '${this.process}' THEN 0 ELSE waits_until END`
      : '';
    return this.#changed(
      `UPDATE ${this.#table} SET owner = '', expires_at = ${this.#now}${waits} WHERE id = ? AND owner = ? AND expires_at > ${this.#now}`,
      [this.#id(key), owner],
    );
  }

  /** Closes the row although nobody has it. */
  keep(key: LockKey, owner: string, keepForMs: number): Promise<boolean> {
    return this.#changed(
      `UPDATE ${this.#table} SET owner = '${KEPT}', expires_at = ${this.#now} + ? WHERE id = ? AND owner = ? AND expires_at > ${this.#now}`,
      [keepForMs, this.#id(key), owner],
    );
  }

  /** Deletes rows that nobody has used for so long. */
  async purge(unusedMs: number): Promise<void> {
    await this.connection.query(
      `DELETE FROM ${this.#table} WHERE expires_at <= ${this.#now} - ? AND waits_until <= ${this.#now}`,
      [unusedMs],
    );
  }

  #id(key: LockKey): string {
    return createHash('sha256').update(`${this.#namespace}\0${key}`).digest('hex');
  }

  async #turn(sql: string, values: readonly unknown[]): Promise<bigint | null> {
    return this.connection.dialect.turnOf(await this.connection.query(sql, values));
  }

  async #changed(sql: string, values: readonly unknown[]): Promise<boolean> {
    return (await this.connection.query(sql, values)).affected === 1;
  }
}
