// Small changes of the fenced transactions, each of which breaks a promise; `test/mutants/run.mjs` runs them.

const FENCE = 'test/fence/fence.e2e-spec.ts';
const LOST = 'test/fence/lost-commit.e2e-spec.ts';
const RETRY = 'test/fence/retry-and-callbacks.e2e-spec.ts';
const LIMITS = 'test/fence/limits.e2e-spec.ts';
const BOOT = 'test/fence/boot.e2e-spec.ts';
const WITNESS = 'test/fence/commit-witness.spec.ts';
const TYPEORM = 'transaction/typeorm/';
const PASS = `${TYPEORM}fence/fence-pass.ts`;
const POSTGRES = `${TYPEORM}fence/postgres.fence-dialect.ts`;
const INNODB = `${TYPEORM}fence/mysql.fence-dialect.ts`;

/** @type {readonly import('../mutants/mutants.mjs').Mutant[]} */
export const FENCE_MUTANTS = [
  {
    what: 'fence: a stale token is let in',
    file: PASS,
    find: 'if (first !== undefined) throw await this.#refused(first);',
    replace: '',
    spec: FENCE,
  },
  {
    what: 'fence: PostgreSQL overwrites a higher token',
    file: POSTGRES,
    find: 'WHERE f.token <= EXCLUDED.token\n',
    replace: '',
    spec: FENCE,
  },
  {
    what: 'fence: a second transaction of the same hold is refused',
    file: POSTGRES,
    find: 'WHERE f.token <= EXCLUDED.token',
    replace: 'WHERE f.token < EXCLUDED.token',
    spec: FENCE,
  },
  {
    what: 'fence: the transaction starts without it',
    file: `${TYPEORM}managed-transaction.ts`,
    find: 'await this.fence?.enter(this.runner);',
    replace: '',
    spec: FENCE,
  },
  {
    what: 'fence: the hold is not looked at after waiting for a former holder',
    file: `${TYPEORM}managed-transaction.ts`,
    find: 'await this.fence?.enter(this.runner);\n      this.#hold.assertHeld();',
    replace: 'await this.fence?.enter(this.runner);',
    spec: FENCE,
  },
  {
    what: 'fence: rows are taken in the order they are given',
    file: PASS,
    find: '.sort(byName)',
    replace: '',
    spec: FENCE,
  },
  {
    what: 'fence: rows of different stores are one row',
    file: PASS,
    find: 'return `${this.locks.store}/${this.locks.namespace}:${text}`;',
    replace: 'return `${this.locks.namespace}:${text}`;',
    spec: FENCE,
  },
  {
    what: 'fence: the store is not asked who is right',
    file: PASS,
    find: 'return isHeld === true',
    replace: 'return isHeld === false',
    spec: FENCE,
  },
  {
    what: 'fence: MariaDB keeps the nonce of the evicted holder',
    file: INNODB,
    find: 'nonce = IF(VALUES(token) >= token, VALUES(nonce), nonce),',
    replace: '',
    spec: LOST,
  },
  {
    what: 'fence: MariaDB forgets whom a newer holder has followed',
    file: INNODB,
    find: 'prev_nonce = IF(VALUES(token) > token, nonce, prev_nonce),',
    replace: '',
    spec: LOST,
  },
  {
    what: 'fence: a nonce that is not ours is taken for a rollback',
    file: `${TYPEORM}fence/commit-witness.ts`,
    find: "return row.keepsPrevious ? judgePrevious(row.previous, lost, token) : 'unknown';",
    replace: "return 'rolled-back';",
    spec: WITNESS,
  },
  {
    what: 'fence: PostgreSQL is not waited for while it commits',
    file: POSTGRES,
    find: "case 'in progress':\n        return 'pending';",
    replace: "case 'in progress':\n        return 'rolled-back';",
    spec: LOST,
  },
  {
    what: 'fence: a commit of unknown outcome is called rolled back',
    file: `${TYPEORM}managed-transaction.ts`,
    find: "(await this.fence?.outcome()) ?? 'unknown'",
    replace: "(await this.fence?.outcome()) ?? 'rolled-back'",
    spec: LOST,
  },
  {
    what: 'fence: limits stay in the pooled session',
    file: POSTGRES,
    find: '$4::bigint)::text, true)',
    replace: '$4::bigint)::text, false)',
    spec: LIMITS,
  },
  {
    what: 'fence: limits of the application are lengthened',
    file: POSTGRES,
    find: 'least(nullif(${now}, 0), $4::bigint)',
    replace: '$4::bigint',
    spec: LIMITS,
  },
  {
    what: 'fence: methods run twice without being asked',
    file: `${TYPEORM}typeorm.options.ts`,
    find: "attempts: attemptsOf('transactions.retry', options.retry, 1)",
    replace: "attempts: attemptsOf('transactions.retry', options.retry, 3)",
    spec: RETRY,
  },
  {
    what: 'fence: callbacks are not awaited',
    file: `${TYPEORM}transaction-callbacks.ts`,
    find: 'await callback();',
    replace: 'void callback();',
    spec: RETRY,
  },
  {
    what: 'fence: maxHold is not looked at',
    file: `${TYPEORM}max-hold.ts`,
    find: 'if (now() >= this.#deadline) throw new MaxHoldExceededError(this.key, this.maxHoldMs);',
    replace: '',
    spec: RETRY,
  },
  {
    what: 'fence: boot does not look for the table',
    file: 'distributed-lock.module.ts',
    find: 'await this.runtime.verify();',
    replace: '',
    spec: BOOT,
  },
  {
    what: 'hold: the lock is released although nobody knows what became of the COMMIT',
    file: `${TYPEORM}outer-transaction.ts`,
    find: "await kept.transactionEnded('unknown');",
    replace: "await kept.transactionEnded('ended');",
    spec: 'test/transaction/hold-lost-commit.e2e-spec.ts',
  },
  {
    what: 'several DataSources: the one that a call names is not the one it gets',
    file: `${TYPEORM}typeorm.transaction-runner.ts`,
    find: 'name === undefined ? this.#defaultSource() : this.#sources.get(name);',
    replace: 'this.#defaultSource();',
    spec: 'test/transaction/several-data-sources.e2e-spec.ts',
  },
  {
    what: 'sqlite: transactions do not queue for the connection',
    file: `${TYPEORM}adopted-data-source.ts`,
    find: 'new SingleConnection(dataSource.driver).install();',
    replace: 'void SingleConnection;',
    spec: 'test/e2e/sqlite.spec.ts',
  },
  {
    what: 'detection: a transaction that a helper opens is not seen by who called it',
    file: `${TYPEORM}adopted-data-source.ts`,
    find: 'this.#subscriber.expect(runner);',
    replace: '',
    spec: 'test/transaction/detection.e2e-spec.ts',
  },
];
