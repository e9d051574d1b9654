import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import { around } from './around.js';
import { confined } from './transaction-context.js';

/** The runner of the locked transaction that the current chain is joined to. */
export type JoinedRunner = () => QueryRunner | undefined;

/**
 * Makes a manager without a query runner of its own use that of the transaction around the call. Everything that TypeORM
 * does goes through `manager.queryRunner`; no prototype is patched, other DataSources are not touched.
 */
export function joinManager(manager: EntityManager, joinedRunner: JoinedRunner): void {
  let assigned: QueryRunner | undefined;
  let building = 0;
  Object.defineProperty(manager, 'queryRunner', {
    configurable: true,
    get: () => assigned ?? (building > 0 ? undefined : joinedRunner()),
    // Test libraries assign one to put all work into a transaction of theirs.
    set: (runner: QueryRunner | undefined) => {
      assigned = runner;
    },
  });
  // Repositories are cached: one that is made inside a transaction must not keep its runner.
  for (const method of ['getRepository', 'getTreeRepository', 'withRepository'] as const) {
    around(manager, method, (make) => {
      building += 1;
      try {
        return make();
      } finally {
        building -= 1;
      }
    });
  }
  around(manager, 'transaction', confined);
}

/** Whether the manager works on one query runner already: such a manager is left alone. */
export function isBound(manager: EntityManager): boolean {
  return Object.getOwnPropertyDescriptor(manager, 'queryRunner')?.value !== undefined;
}

/** The same for what is called on the DataSource itself. */
export function joinDataSource(
  dataSource: DataSource,
  joinedRunner: JoinedRunner,
  adoptManager: (manager: EntityManager) => void,
): void {
  around(dataSource, 'createEntityManager', (create, [runner]) => {
    const manager = create() as EntityManager;
    if (runner === undefined) adoptManager(manager);
    return manager;
  });
  around(dataSource, 'query', (query, [sql, parameters, runner]) =>
    query(sql, parameters, runner ?? joinedRunner()),
  );
  // Two forms: (entity, alias, runner?) and (runner?).
  around(dataSource, 'createQueryBuilder', (create, [first, alias, runner]) =>
    alias === undefined
      ? create(first ?? joinedRunner())
      : create(first, alias, runner ?? joinedRunner()),
  );
}
