import type { INestApplication, ModuleMetadata } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import {
  DistributedLockModule,
  LockConfigurationError,
  type LockStore,
  memoryStore,
  type OpenTransaction,
  type TransactionHold,
  type TransactionOptions,
  type TransactionRunner,
} from 'nestjs-distributed-lock';
import { onTestFinished } from 'vitest';

/** A module of its own store, as most tests need it. */
export const locks = () => DistributedLockModule.forRoot({ store: memoryStore() });

/** Starts an application without a server; it is closed with the test. Its boot error is the caller's. */
export async function startApp(metadata: ModuleMetadata): Promise<INestApplication> {
  const module = await Test.createTestingModule(metadata).compile();
  const app = module.createNestApplication({ logger: false });
  onTestFinished(() => app.close());
  await app.init();
  return app;
}

export interface HttpApp {
  readonly app: INestApplication;
  get(path: string): Promise<{ readonly status: number; readonly body: unknown }>;
}

/** Starts an application on a free port. */
export async function startHttp(metadata: ModuleMetadata): Promise<HttpApp> {
  const app = await startApp(metadata);
  await app.listen(0, '127.0.0.1');
  const url = await app.getUrl();
  return {
    app,
    async get(path) {
      const response = await fetch(new URL(path, url), { headers: { connection: 'close' } });
      const text = await response.text();
      const isJson = response.headers.get('content-type')?.startsWith('application/json');
      return { status: response.status, body: isJson ? (JSON.parse(text) as unknown) : text };
    },
  };
}

/** Counts how many calls are inside at a time. Every call stays inside for a few turns of the event loop, so that overlaps show. */
export class Occupancy {
  highest = 0;
  total = 0;
  #inside = 0;

  async visit<T>(value?: T): Promise<T | undefined> {
    this.total += 1;
    this.#inside += 1;
    this.highest = Math.max(this.highest, this.#inside);
    for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    this.#inside -= 1;
    return value;
  }
}

/** Opens once; what waits for it goes on then. */
export class Gate {
  open: () => void = () => undefined;
  readonly opened = new Promise<void>((resolve) => (this.open = resolve));
}

/** Looks until the condition holds. */
export async function until(
  condition: () => boolean,
  what: string,
  deadlineMs = 5_000,
): Promise<void> {
  const end = performance.now() + deadlineMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** The memory store, with some of its methods replaced: what the module does with a store, without a server. */
export function storeWith(replaced: Partial<LockStore>): LockStore {
  const store = memoryStore();
  return {
    traits: store.traits,
    open: (namespace, timeoutMs) => store.open(namespace, timeoutMs),
    acquire: (request) => store.acquire(request),
    renew: (renewals) => store.renew(renewals),
    release: (grant, keepForMs) => store.release(grant, keepForMs),
    abandon: (grant) => store.abandon(grant),
    stop: () => store.stop(),
    close: () => store.close(),
    ...replaced,
  };
}

/** A transaction runner without a database: notes what the module asks of it. */
export class NotedTransactions implements TransactionRunner<string> {
  readonly notes: string[] = [];
  adopted: readonly unknown[] | null = null;
  open: OpenTransaction | undefined;

  check(options: TransactionOptions): void {
    if (options.dataSource === undefined || options.dataSource === 'default') return;
    throw new LockConfigurationError(
      `Option "dataSource" is "${options.dataSource}"; allowed: "default".`,
    );
  }

  adopt(instances: Iterable<unknown>): void {
    this.adopted = [...instances];
  }

  openTransaction(): OpenTransaction | undefined {
    return this.open;
  }

  onOpenTransaction(): 'reject' {
    return 'reject';
  }

  outside<T>(work: () => T): T {
    const { open } = this;
    this.open = undefined;
    try {
      return work();
    } finally {
      this.open = open;
    }
  }

  async run<T>(
    options: TransactionOptions,
    hold: TransactionHold,
    work: (manager: string) => Promise<T>,
  ): Promise<T> {
    this.notes.push(`START ${options.isolation ?? 'default'}`);
    try {
      const result = await work('manager');
      hold.assertHeld();
      this.notes.push('COMMIT');
      return result;
    } catch (error) {
      this.notes.push('ROLLBACK');
      throw error;
    }
  }
}
