import type { QueryRunner } from 'typeorm';
import { describe, expect, it } from 'vitest';
import {
  LockLostError,
  TransactionContextEndedError,
  TransactionMisuseError,
} from '../../distributed-lock.errors.js';
import { TransactionGuard } from './transaction-guard.js';

function guardOf({ depth = 1, assertHeld = () => {} } = {}): TransactionGuard {
  const hold = { key: 'application:42', lost: new AbortController().signal, assertHeld };
  const guard = new TransactionGuard({ transactionDepth: depth } as unknown as QueryRunner, hold);
  guard.stage = 'open';
  return guard;
}

describe('the guard of a locked transaction', () => {
  it.each([
    'COMMIT',
    ' commit work',
    'END',
    'abort',
    'ROLLBACK',
    'rollback transaction',
    'rollback and chain',
  ])('refuses %j of the method', (query) => {
    expect(() => guardOf().beforeStatement(query)).toThrow(TransactionMisuseError);
  });

  it.each([
    'ROLLBACK TO SAVEPOINT a',
    'rollback to a',
    'ROLLBACK WORK TO a',
    'RELEASE SAVEPOINT a',
    'SELECT commit FROM git',
    'endpoint()',
    'UPDATE t SET x = 1',
  ])('lets %j pass', (query) => {
    expect(() => guardOf().beforeStatement(query)).not.toThrow();
  });

  it('refuses the end of the whole transaction where it is not a statement', () => {
    expect(() => guardOf({ depth: 1 }).beforeEnd('commit')).toThrow(TransactionMisuseError);
    expect(() => guardOf({ depth: 1 }).beforeEnd('rollback')).toThrow(TransactionMisuseError);
    expect(() => guardOf({ depth: 2 }).beforeEnd('rollback')).not.toThrow(); // of a savepoint
    const committing = guardOf();
    committing.stage = 'committing';
    expect(() => committing.beforeEnd('commit')).not.toThrow(); // our own
  });

  it('refuses every statement once InnoDB has rolled back: it would commit by itself', () => {
    const guard = guardOf();
    const deadlock = Object.assign(new Error('Deadlock found'), { errno: 1213 });
    guard.afterStatement('UPDATE a', { error: deadlock });
    const refused = {
      code: 'TRANSACTION_ROLLED_BACK',
      reason: 'deadlock',
      retryable: true,
      cause: deadlock,
    };
    expect(() => guard.beforeStatement('UPDATE b')).toThrow(expect.objectContaining(refused));
    expect(() => guard.assertCommittable()).toThrow(expect.objectContaining(refused));
    guard.stage = 'rolling-back';
    expect(() => guard.beforeStatement('UPDATE b')).toThrow(TransactionContextEndedError);
    expect(() => guard.beforeStatement('ROLLBACK')).not.toThrow();
  });

  it('control: after another error it goes on', () => {
    const guard = guardOf();
    guard.afterStatement('UPDATE a', {
      error: Object.assign(new Error('duplicate'), { errno: 1062 }),
    });
    expect(() => guard.beforeStatement('UPDATE b')).not.toThrow();
    expect(() => guard.assertCommittable()).not.toThrow();
  });

  it('refuses everything but ROLLBACK after a COMMIT that failed: there is no transaction any more', () => {
    const guard = guardOf();
    guard.stage = 'committing';
    guard.beforeStatement('COMMIT');
    guard.afterStatement('COMMIT', { error: new Error('deferred constraint') });
    expect(() => guard.beforeStatement('UPDATE a')).toThrow(TransactionContextEndedError);
    guard.stage = 'rolling-back';
    expect(() => guard.beforeStatement('UPDATE a')).toThrow(TransactionContextEndedError);
    guard.beforeStatement('ROLLBACK');
    expect(guard.stage).toBe('rollback-sent');
    expect(() => guard.beforeStatement('UPDATE a')).toThrow(TransactionContextEndedError);
  });

  it('refuses the COMMIT of a nested transaction while it rolls back', () => {
    const guard = guardOf();
    guard.stage = 'rolling-back';
    expect(() => guard.beforeStatement('COMMIT')).toThrow(TransactionContextEndedError);
  });

  it('looks at the hold before every statement, and before COMMIT once more', () => {
    let held = true;
    const guard = guardOf({
      assertHeld: () => {
        if (!held) throw new LockLostError('application:42', 'expired');
      },
    });
    guard.beforeStatement('UPDATE a');
    guard.assertCommittable();
    guard.stage = 'committing';
    held = false;
    const lost = { code: 'LOCK_LOST', methodRan: true, committed: false, retryable: true };
    expect(() => guard.beforeStatement('COMMIT')).toThrow(expect.objectContaining(lost));
    expect(guard.stage).toBe('committing'); // not sent
  });

  it('leaves the loss of another lock as it is', () => {
    const other = new LockLostError('quote:7', 'expired');
    const own = new LockLostError('application:42', 'expired');
    expect(guardOf().told(other)).toBe(other);
    expect(guardOf().told(own)).toMatchObject({ committed: false, retryable: true });
  });
});
