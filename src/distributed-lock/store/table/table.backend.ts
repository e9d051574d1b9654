import {
  LockConfigurationError,
  LockStoreUnavailableError,
} from '../../distributed-lock.errors.js';
import { show } from '../../distributed-lock.duration.js';
import type { LockKey } from '../../key/lock-key.js';
import type { KeyState, StoreTraits } from '../lock-store.js';
import { pollPause } from '../polling.js';
import type {
  BackendListener,
  Busy,
  GiveBackAnswer,
  Granted,
  HeldTurn,
  PassAnswer,
  TakeRequest,
  TurnBackend,
  TurnRef,
} from '../turn-backend.js';
import type { TableConnection } from './table.connection.js';
import { tableError } from './table.errors.js';
import { endHolds, stateOf } from './table.operator.js';
import type { TableRows } from './table.rows.js';
import { lockTableSql } from './table.schema.js';
import type { LockTableType } from './table.dialect.js';
import { tokensOf } from './table.tokens.js';

export interface TableSettings {
  readonly type: LockTableType;
  readonly table: string;
  readonly createTable: boolean;
  /** Longest pause between two looks, in milliseconds. */
  readonly longestPauseMs: number;
  /** How long a row is kept after its last use, in milliseconds. */
  readonly keepRowsMs: number;
}

const ROWS_PER_RENEWAL = 100;
/** Longest pause of the one process that has left its mark, and so goes next. */
const NEXT_PAUSE_MS = 100;
const PURGE_EVERY_MS = 3_600_000;

/** Leases in the rows of a table. */
export class TableBackend implements TurnBackend {
  readonly traits: StoreTraits = {
    name: 'table',
    ownership: 'lease',
    fencing: 'per-key',
    fair: 'process',
    wakes: 'poll',
    reach: 'server',
    offers: [],
    keeps: 'server',
    showsHolders: 'owner-and-token',
    forceRelease: 'hold',
  };
  #listener: BackendListener | null = null;
  #ready: Promise<void> | null = null;
  /** The last command of each key: commands of one key never overtake each other, whatever connections they use. */
  readonly #lanes = new Map<LockKey, Promise<unknown>>();
  readonly #marked = new Set<LockKey>();
  #purge: NodeJS.Timeout | null = null;

  constructor(
    private readonly connection: TableConnection,
    private readonly rows: TableRows,
    private readonly settings: TableSettings,
  ) {}

  async open(namespace: string, timeoutMs: number, listener: BackendListener): Promise<void> {
    this.rows.namespace = namespace;
    this.#listener = listener;
    this.#purge ??= setInterval(
      () => {
        // Left to another process, or to the next time.
        this.rows.purge(this.settings.keepRowsMs).catch(() => undefined);
      },
      PURGE_EVERY_MS * (0.75 + Math.random() / 2),
    ).unref();
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_resolve, reject) => {
      const detail = `no connection within ${timeoutMs} ms`;
      timer = setTimeout(
        () => reject(new LockStoreUnavailableError('table', null, detail)),
        timeoutMs,
      );
    });
    try {
      await Promise.race([this.#whenReady(), timeout]);
    } catch (error) {
      throw tableError(error, null);
    } finally {
      clearTimeout(timer);
    }
  }

  take(request: TakeRequest): Promise<Granted | Busy> {
    const { key, owner, leaseTimeMs, attempt } = request;
    const leaseMs = Math.ceil(leaseTimeMs);
    return this.#inOrder(key, async () => {
      // Who has been told "busy" looks before it writes.
      let state = attempt > 0 ? await this.rows.look(key) : null;
      if (state && state.leftMs > 0 && state.owner !== owner) return this.#busy(request, state);
      let turn = await this.rows.take(key, owner, leaseMs);
      if (turn === null) {
        state = await this.rows.look(key);
        if (state === null) turn = await this.rows.insert(key, owner, leaseMs);
      }
      if (turn === null) return this.#busy(request, state);
      return { granted: true, tokens: tokensOf(turn) };
    });
  }

  pass({ key, owner, leaseTimeMs }: HeldTurn): Promise<PassAnswer> {
    return this.#inOrder(key, async () => {
      if (await this.rows.passToWaiter(key, owner)) {
        return { outcome: 'passed', retryInMs: NEXT_PAUSE_MS + Math.random() * 20, since: null };
      }
      const turn = await this.rows.nextTurn(key, owner, Math.ceil(leaseTimeMs));
      return turn === null ? { outcome: 'lost' } : { outcome: 'continues', tokens: tokensOf(turn) };
    });
  }

  async renew(turns: readonly HeldTurn[]): Promise<readonly boolean[]> {
    const leases = new Map<number, HeldTurn[][]>();
    for (const turn of turns) {
      const batches = leases.get(turn.leaseTimeMs) ?? [[]];
      leases.set(turn.leaseTimeMs, batches);
      if (batches.at(-1)!.length === ROWS_PER_RENEWAL) batches.push([]);
      batches.at(-1)!.push(turn);
    }
    try {
      await this.#whenReady();
      const renewed = await Promise.all(
        [...leases].flatMap(([leaseTimeMs, batches]) =>
          batches.map((batch) => this.rows.renew(batch, Math.ceil(leaseTimeMs))),
        ),
      );
      return turns.map(({ owner }) => renewed.some((owners) => owners.has(owner)));
    } catch (error) {
      throw tableError(error, null);
    }
  }

  giveBack({ key, owner }: TurnRef, more: boolean): Promise<GiveBackAnswer> {
    return this.#inOrder(key, async () => {
      const unmark = !more && this.#marked.delete(key);
      const held = owner !== '' && (await this.rows.release(key, owner, unmark));
      if (!held && unmark) await this.rows.unmark(key);
      return { held, woke: false };
    });
  }

  keep({ key, owner }: TurnRef, keepForMs: number): Promise<boolean> {
    return this.#inOrder(key, () => this.rows.keep(key, owner, Math.ceil(keepForMs)));
  }

  stateOf(key: LockKey): Promise<KeyState> {
    return this.#inOrder(key, () => stateOf(this.rows, key));
  }

  forceRelease(key: LockKey): Promise<readonly TurnRef[]> {
    return this.#inOrder(key, () => endHolds(this.rows, key));
  }

  async close(): Promise<void> {
    if (this.#purge) clearInterval(this.#purge);
    this.#purge = null;
    this.#listener = null;
    this.#ready = null;
    await this.connection.close().catch(() => undefined); // its connections are gone, then
  }

  async #busy({ key, wait, attempt }: TakeRequest, state: TableState): Promise<Busy> {
    const { longestPauseMs } = this.settings;
    const marked = wait && state !== null && (await this.rows.mark(key, state));
    if (marked) this.#marked.add(key);
    const pause = marked
      ? pollPause(attempt + 1, 1.3, Math.min(NEXT_PAUSE_MS, longestPauseMs))
      : pollPause(attempt + 1, 1.6, longestPauseMs);
    return {
      granted: false,
      retryInMs: Math.min(pause, Math.max(state?.leftMs ?? 0, 0) + 1),
      since: null,
      holder: state?.owner || null,
    };
  }

  async #inOrder<T>(key: LockKey, command: () => Promise<T>): Promise<T> {
    const run = async (): Promise<T> => {
      await this.#whenReady();
      return command();
    };
    const answer = (this.#lanes.get(key) ?? Promise.resolve()).then(run);
    const settled = answer
      .catch(() => undefined) // its caller has the error
      .then(() => {
        if (this.#lanes.get(key) === settled) this.#lanes.delete(key);
      });
    this.#lanes.set(key, settled);
    try {
      return await answer;
    } catch (error) {
      throw tableError(error, key);
    }
  }

  /** Connects and checks the table once; after a failure, at the next command. */
  #whenReady(): Promise<void> {
    this.#ready ??= this.#prepare().then(
      () => this.#listener?.ready(),
      async (error: unknown) => {
        this.#ready = null;
        await this.connection.close().catch(() => undefined); // half open
        throw error;
      },
    );
    return this.#ready;
  }

  async #prepare(): Promise<void> {
    await this.connection.connect();
    const { isReadOnly } = this.connection.dialect;
    const { table, type, createTable } = this.settings;
    if (isReadOnly !== null) {
      const { records } = await this.connection.query(isReadOnly, []);
      const [row] = records as { answer: number }[];
      if (Number(row?.answer) !== 0) throw readOnly();
    }
    try {
      await this.rows.verify();
    } catch (missing) {
      if (tableError(missing, null) instanceof LockStoreUnavailableError) throw missing;
      // Two processes that start at the same moment may both try, and one fails: all that counts is that it is there.
      let cause: unknown = missing;
      if (createTable)
        await this.connection
          .query(lockTableSql(type, table), [])
          .catch((error: unknown) => (cause = error));
      await this.rows.verify().catch(() => {
        throw new LockConfigurationError(
          `Option "table" of tableStore is ${show(table)}, which does not exist, has other columns, or may not be read${createTable ? ', and could not be created' : ' (createTable: false)'}. ` +
            `Run: ${lockTableSql(type, table)}`,
          { cause },
        );
      });
    }
    await this.rows.probeWrite();
  }
}

type TableState = Awaited<ReturnType<TableRows['look']>>;

function readOnly(): LockConfigurationError {
  return new LockConfigurationError(
    'tableStore is connected to a read-only server, like a replica. Connect it to the primary.',
  );
}
