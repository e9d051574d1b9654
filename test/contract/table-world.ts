import { randomUUID } from 'node:crypto';
import type { DataSourceOptions } from 'typeorm';
import type { LockStore } from '../../src/distributed-lock/store/lock-store.js';
import {
  tableStore,
  type TableStoreOptions,
} from '../../src/distributed-lock/store/table/index.js';
import type { StoreWorld } from './lock-store.contract.js';

/** Stores on one lock table and one namespace of their own, as if each were a process. */
export class TableWorld implements StoreWorld {
  readonly namespace = `t-${randomUUID().slice(0, 8)}`;
  readonly #stores: LockStore[] = [];

  constructor(
    readonly dataSource: DataSourceOptions,
    private readonly options: Omit<TableStoreOptions, 'dataSource'> = {},
  ) {}

  async store(options: Partial<TableStoreOptions> = {}): Promise<LockStore> {
    const store = tableStore({ dataSource: this.dataSource, ...this.options, ...options });
    this.#stores.push(store);
    await store.open(this.namespace, 5_000);
    return store;
  }

  async close(): Promise<void> {
    await Promise.all(this.#stores.map((store) => store.close()));
  }
}
