import { randomUUID } from 'node:crypto';
import type { LockStore } from '../../src/distributed-lock/store/lock-store.js';
import type { StoreWorld } from './lock-store.contract.js';

/** Stores on one server and one namespace of their own, as if each were a process. */
export abstract class UrlWorld<Options extends object> implements StoreWorld {
  readonly namespace = `t-${randomUUID().slice(0, 8)}`;
  readonly #stores: LockStore[] = [];

  constructor(
    readonly url: string,
    private readonly options: Options = {} as Options,
  ) {}

  protected abstract make(url: string, options: Partial<Options>): LockStore;

  /** @param url a way to the same server, such as a proxy. */
  async store(url = this.url, options: Partial<Options> = {}): Promise<LockStore> {
    const store = this.make(url, { ...this.options, ...options });
    this.#stores.push(store);
    await store.open(this.namespace, 5_000);
    return store;
  }

  async close(): Promise<void> {
    await Promise.all(this.#stores.map((store) => store.close()));
  }
}
