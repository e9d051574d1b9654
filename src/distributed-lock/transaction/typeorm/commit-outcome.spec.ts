import { describe, expect, it } from 'vitest';
import { commitFailure, isConsequentialError, isInnoDbDeadlock } from './commit-outcome.js';

describe('a failed COMMIT', () => {
  it.each([
    ['a deferred constraint', { code: '23505' }],
    ['a serialization failure', { code: '40001' }],
    ['a deadlock', { code: '40P01' }],
    ['idle for too long', { code: '25P03' }],
    ['a full disk', { code: '53100' }],
    ['an exception of a trigger', { code: 'P0001' }],
    [
      'a deadlock of MySQL, which says it in `sqlState`',
      { code: 'ER_LOCK_DEADLOCK', sqlState: '40001' },
    ],
  ])('is rolled back: %s', (_what, error) => {
    expect(commitFailure(error)).toBe('rolled-back');
  });

  it.each([
    ['a connection that was reset', { code: 'ECONNRESET' }],
    ['a broken pipe, whose code looks like a SQLSTATE', { code: 'EPIPE' }],
    ['a connection error with a SQLSTATE', { code: '08006' }],
    ['a session ended by the administrator', { code: '57P01' }],
    ['a statement whose completion is unknown', { code: '40003' }],
    ['a class that nobody has listed', { code: 'XX000' }],
    ['a general error of MySQL', { code: 'ER_ERROR_DURING_COMMIT', sqlState: 'HY000' }],
    ['an error without a code', new Error('Connection terminated unexpectedly')],
    ['no error at all', undefined],
  ])('is unknown: %s', (_what, error) => {
    expect(commitFailure(error)).toBe('unknown');
  });

  it('tells the error that aborted a transaction from those that follow', () => {
    expect(isConsequentialError({ code: '25P02' })).toBe(true);
    expect(isConsequentialError({ code: '42703' })).toBe(false);
  });

  it('knows the deadlock after which InnoDB has rolled everything back', () => {
    expect(isInnoDbDeadlock({ errno: 1213 })).toBe(true);
    expect(isInnoDbDeadlock({ errno: 1205 })).toBe(false); // lock wait timeout: the statement only
    expect(isInnoDbDeadlock(null)).toBe(false);
  });
});
