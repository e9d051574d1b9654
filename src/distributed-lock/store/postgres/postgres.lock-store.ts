import { randomBytes } from 'node:crypto';
import { type Duration, durationMs, show } from '../../distributed-lock.duration.js';
import { LockConfigurationError } from '../../distributed-lock.errors.js';
import { booleanOption, refuseUnknownOptions } from '../../distributed-lock.options.js';
import { Line } from '../line.js';
import { LineLockStore } from '../line.lock-store.js';
import type { LockStore, StoreTraits } from '../lock-store.js';
import { pollPause } from '../polling.js';
import { QueueingLockStore, TURN_GRANTS, type TurnBounds } from '../queueing.lock-store.js';
import type { LinkListener } from '../session-link.js';
import { SessionBackend, type SessionPauses } from '../session.backend.js';
import { SessionLine } from '../session.line.js';
import { checkConnection, clientFactory, type PostgresConnection } from './postgres.connection.js';
import { postgresError } from './postgres.errors.js';
import { PostgresLink, type PostgresSettings } from './postgres.link.js';

/** Options of {@link postgresStore}. Times are milliseconds, or a text such as `'2s'`. */
export interface PostgresStoreOptions {
  /** How to reach the primary. The store opens one connection of its own: for all holds and all waiters of the process. */
  readonly connection: PostgresConnection;
  /**
   * How waiters learn of a release. `'push'`: by NOTIFY. `'poll'`: they look again, with growing, random pauses of up to 100 ms; for servers
   * whose write rate makes NOTIFY, which is serialized per database, a bottleneck. Default `'push'`.
   */
  readonly wake?: 'push' | 'poll';
  /** When the server ends a session from which it hears nothing, and so frees its locks. At least 1 s. Default `'10s'`. */
  readonly sessionTimeout?: Duration;
  /** Longest time between two looks at a busy key: a holder that crashed wakes nobody. Default `'500ms'`. */
  readonly safetyLook?: Duration;
  /** Sequence that fencing tokens are drawn from: `name` or `schema.name`. Default `'distributed_lock_token'`. */
  readonly sequence?: string;
  /** Create the sequence at boot if it is missing. Default `true`. */
  readonly createSequence?: boolean;
  /**
   * What to do about a connection pooler (PgBouncer, …). `'refuse'`: does not start behind one. `'session'`: it is known to pool whole sessions.
   * Default `'refuse'`.
   */
  readonly pooler?: 'refuse' | 'session';
  /** Callers of one process served in a row before another waiting process gets its turn: 1 to 1000. Default `32`. */
  readonly turnGrants?: number;
  /** The same as a time. Default `'50ms'`. */
  readonly turnTime?: Duration;
}

const OPTIONS = [
  'connection',
  'wake',
  'sessionTimeout',
  'safetyLook',
  'sequence',
  'createSequence',
  'pooler',
  'turnGrants',
  'turnTime',
] as const;

const LONGEST_POLL_MS = 100;

/**
 * Session advisory locks of one PostgreSQL, 14 or newer.
 *
 * A grant lives as long as the store's connection. See `docs/stores/postgres.md`.
 *
 * @throws {LockConfigurationError} naming the option, the value and what is allowed.
 */
export function postgresStore(options: PostgresStoreOptions): LockStore {
  refuseUnknownOptions('postgresStore.', options, OPTIONS);
  const wake = oneOf('wake', options.wake ?? 'push', ['push', 'poll']);
  const pooler = oneOf('pooler', options.pooler ?? 'refuse', ['refuse', 'session']);
  const settings: PostgresSettings = {
    newClient: clientFactory(checkConnection(options.connection)),
    sessionTimeoutMs: durationMs(
      'postgresStore.sessionTimeout',
      options.sessionTimeout ?? 10_000,
      1_000,
    ),
    push: wake === 'push',
    sequence: sequenceName(options.sequence ?? 'distributed_lock_token'),
    createSequence: booleanOption('postgresStore.createSequence', options.createSequence, true),
    sessionPooler: pooler === 'session',
  };
  const safetyLookMs = durationMs('postgresStore.safetyLook', options.safetyLook ?? 500, 10);
  return postgresStoreWith(settings, safetyLookMs, {
    maxGrants: grantsPerTurn(options.turnGrants ?? TURN_GRANTS),
    maxTimeMs: durationMs('postgresStore.turnTime', options.turnTime ?? 50, 0),
  });
}

export function postgresStoreWith(
  settings: PostgresSettings,
  safetyLookMs: number,
  bounds: TurnBounds = {},
): LockStore {
  const traits: StoreTraits = {
    name: 'postgres',
    ownership: 'session',
    fencing: 'store-wide',
    fair: 'process',
    wakes: settings.push ? 'push' : 'poll',
    reach: 'server',
    offers: ['shared'],
    keeps: 'process',
    showsHolders: 'session',
    forceRelease: 'session',
  };
  const kind = {
    store: 'postgres',
    timeoutMs: settings.sessionTimeoutMs,
    newLink: (namespace: string, listener: LinkListener) =>
      new PostgresLink(namespace, settings, listener),
    toError: postgresError,
  };
  const pauses = pausesOf(settings.push, safetyLookMs);
  const backend = new SessionBackend(traits, kind, pauses);
  const id = randomBytes(12).toString('base64url');
  return new LineLockStore(
    new QueueingLockStore(backend, id, bounds),
    new Line(new SessionLine(backend.desk, pauses), traits, `${id}.line`),
  );
}

function pausesOf(push: boolean, safetyLookMs: number): SessionPauses {
  if (!push) {
    return {
      busy: (_marked, attempt) => pollPause(attempt, 1.6, Math.min(LONGEST_POLL_MS, safetyLookMs)),
      // Longer than the others' longest pause: one of them goes first.
      passed: () => LONGEST_POLL_MS + Math.random() * 20,
    };
  }
  return {
    // Without a mark nobody will tell: look again soon.
    busy: (marked) => (marked ? safetyLookMs * (0.75 + Math.random() / 2) : 1 + Math.random() * 4),
    // Those who were woken are here within a round trip; if none of them wants the key, it is free.
    passed: () => 20 + Math.random() * 20,
  };
}

function sequenceName(value: unknown): string {
  const part = '[A-Za-z_][A-Za-z0-9_$]{0,62}';
  if (typeof value === 'string' && new RegExp(`^(${part}\\.)?${part}$`).test(value)) return value;
  throw new LockConfigurationError(
    `Option "sequence" of postgresStore is ${show(value)}; allowed: a name or schema.name of letters, digits, _ and $. Upper and lower case are kept.`,
  );
}

function oneOf<T extends string>(option: string, value: T, allowed: readonly T[]): T {
  if (allowed.includes(value)) return value;
  throw new LockConfigurationError(
    `Option "${option}" of postgresStore is ${show(value)}; allowed: ${allowed.map(show).join(', ')}.`,
  );
}

function grantsPerTurn(value: number): number {
  if (Number.isInteger(value) && value >= 1 && value <= 1_000) return value;
  throw new LockConfigurationError(
    `Option "turnGrants" of postgresStore is ${show(value)}; allowed: a whole number from 1 to 1000.`,
  );
}
