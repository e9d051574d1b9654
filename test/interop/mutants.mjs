// Small changes of what lets other libraries open the transactions, each of which breaks a promise; `test/mutants/run.mjs` runs them.

const INTEROP = 'test/interop/nestjs-cls.e2e-spec.ts';
const TRANSACTIONAL = 'test/interop/typeorm-transactional.e2e-spec.ts';
const THROUGH = 'transaction/typeorm/opened-transaction.ts';

/** @type {readonly import('../mutants/mutants.mjs').Mutant[]} */
export const INTEROP_MUTANTS = [
  {
    what: 'interop: the library starts the transaction by itself, without the fence',
    file: THROUGH,
    find: 'return start(isolation);\n      },',
    replace: 'return transaction.runner.startTransaction(isolation as undefined);\n      },',
    spec: INTEROP,
  },
  {
    what: 'interop: the library sends COMMIT without a look at the hold',
    file: THROUGH,
    find: 'commitTransaction: { value: () => insideOf(transaction, () => transaction.commit()) },',
    replace: 'commitTransaction: { value: () => transaction.runner.commitTransaction() },',
    spec: INTEROP,
  },
  {
    what: 'interop: a method runs although the library has opened something else',
    file: THROUGH,
    find: 'if (!isStarted) throw notOpened(mode, transaction);',
    replace: '',
    spec: TRANSACTIONAL,
  },
  {
    what: 'interop: transactions of a DataSource that belongs to a library are not seen',
    file: 'transaction/typeorm/adopted-data-source.ts',
    find: 'keepFirst(dataSource, this.#subscriber);',
    replace: 'if (mode === null) keepFirst(dataSource, this.#subscriber);',
    spec: INTEROP,
  },
  {
    what: 'interop: a DataSource that two libraries patch is accepted',
    file: 'transaction/typeorm/adopted-data-source.ts',
    find: 'if (isPatched === (mode?.patchesDataSources ?? false)) return;',
    replace: 'return;',
    spec: TRANSACTIONAL,
  },
  {
    what: 'interop: a lock below another wrapper boots',
    file: 'decorator/locked-method.ts',
    find: 'if (inner === undefined) continue;',
    replace: 'continue;',
    spec: 'test/interop/decorator-order.spec.ts',
  },
];
