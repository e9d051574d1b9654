import type { TokenBlock } from '../turn-backend.js';

/** A turn number is a time in microseconds; each turn owns the thousand tokens that follow from it. */
const TOKENS_PER_TURN = 1_000;

/** The tokens of a turn by its number, which is what renewals send; most holds are never asked for their token. */
export class TokensOfTurn implements TokenBlock {
  readonly size = TOKENS_PER_TURN;

  constructor(readonly turn: string) {}

  get first(): bigint {
    return BigInt(this.turn) * BigInt(TOKENS_PER_TURN);
  }
}

/** @returns what stands before the owner id in the lock key of a turn; `''` of one without tokens. */
export function turnNumber(tokens: TokenBlock | null): string {
  if (tokens instanceof TokensOfTurn) return tokens.turn;
  return tokens === null ? '' : (tokens.first / BigInt(TOKENS_PER_TURN)).toString();
}
