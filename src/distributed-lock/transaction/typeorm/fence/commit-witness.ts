import type { LostCommit, Witness } from './fence-dialect.js';

/** One row of the fence, as the probe of a lost COMMIT found it. */
export interface FenceRow {
  readonly token: bigint;
  readonly nonce: string;
  /** What the row was before its present token first came in; `null` where it did not exist, or is not kept. */
  readonly previous: { readonly token: bigint; readonly nonce: string } | null;
  /** Whether the dialect keeps {@link previous} at all. */
  readonly keepsPrevious: boolean;
}

/**
 * What one row of the fence tells of a transaction whose COMMIT was not answered.
 *
 * Only valid when the row was read under its lock, after the connection of the transaction was closed. A newer holder may have passed
 * the fence meanwhile: a nonce that is not ours does not mean that we did not commit.
 *
 * @param row as the probe left it; a row that the probe itself inserted has the nonce `probe`.
 */
export function judge(
  row: FenceRow,
  probe: string,
  lost: Pick<LostCommit, 'nonce' | 'earlierNonces'>,
  token: bigint,
): Exclude<Witness, 'pending'> {
  if (row.nonce === lost.nonce) return 'committed';
  if (row.nonce === probe || row.token < token) return 'rolled-back';
  if (row.token === token)
    return lost.earlierNonces.includes(row.nonce) ? 'rolled-back' : 'unknown';
  return row.keepsPrevious ? judgePrevious(row.previous, lost, token) : 'unknown';
}

/** The first newer holder that came in wrote down what it found: the last word on us, unless a second newer one has come since. */
function judgePrevious(
  previous: FenceRow['previous'],
  { nonce, earlierNonces }: Pick<LostCommit, 'nonce' | 'earlierNonces'>,
  token: bigint,
): 'committed' | 'rolled-back' | 'unknown' {
  if (previous === null || previous.token < token) return 'rolled-back';
  if (previous.nonce === nonce) return 'committed';
  return earlierNonces.includes(previous.nonce) ? 'rolled-back' : 'unknown';
}
