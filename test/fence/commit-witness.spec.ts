import { describe, expect, it } from 'vitest';
import {
  type FenceRow,
  judge,
} from '../../src/distributed-lock/transaction/typeorm/fence/commit-witness.js';

const lost = { nonce: 'ours', earlierNonces: ['retried'] };
const PROBE = 'probe';
const row = (
  token: bigint,
  nonce: string,
  previous: FenceRow['previous'] = null,
  keepsPrevious = true,
): FenceRow => ({ token, nonce, previous, keepsPrevious });

/** Our token is 7. */
const CASES: readonly [string, FenceRow, ReturnType<typeof judge>][] = [
  ['our nonce', row(7n, 'ours'), 'committed'],
  ['no row: the probe inserted it', row(7n, PROBE), 'rolled-back'],
  ['a lower token', row(6n, 'older'), 'rolled-back'],
  ['our token, with the nonce of an earlier attempt', row(7n, 'retried'), 'rolled-back'],
  ['our token, with a nonce of another transaction', row(7n, 'other'), 'unknown'],
  [
    'a newer holder that found our nonce',
    row(8n, 'newer', { token: 7n, nonce: 'ours' }),
    'committed',
  ],
  [
    'a newer holder that found an older one',
    row(8n, 'newer', { token: 6n, nonce: 'older' }),
    'rolled-back',
  ],
  ['a newer holder that found no row', row(8n, 'newer', null), 'rolled-back'],
  [
    'a newer holder that found our earlier attempt',
    row(8n, 'newer', { token: 7n, nonce: 'retried' }),
    'rolled-back',
  ],
  [
    'a newer holder that found another transaction of ours',
    row(8n, 'newer', { token: 7n, nonce: 'other' }),
    'unknown',
  ],
  ['two newer holders', row(9n, 'newest', { token: 8n, nonce: 'newer' }), 'unknown'],
  [
    'a newer holder in a table that keeps no previous row',
    row(8n, 'newer', null, false),
    'unknown',
  ],
];

describe('the row of the fence as a witness of a lost COMMIT', () => {
  it.each(CASES)('%s', (_what, found, verdict) => {
    expect(judge(found, PROBE, lost, 7n)).toBe(verdict);
  });

  it('mutant: taking every other nonce for "rolled back" contradicts it where a newer holder came', () => {
    const naive = (found: FenceRow) => (found.nonce === lost.nonce ? 'committed' : 'rolled-back');
    const wrong = CASES.filter(([, found, verdict]) => naive(found) !== verdict).map(
      ([what]) => what,
    );
    expect(wrong).toContain('a newer holder that found our nonce');
    expect(wrong).toContain('two newer holders');
  });
});
