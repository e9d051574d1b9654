import type { TokenBlock } from '../turn-backend.js';

const TOKENS_PER_TURN = 1_000n;

/** The fencing tokens of a turn, by its number. */
export function tokensOf(turn: bigint): TokenBlock {
  return { first: turn * TOKENS_PER_TURN, size: Number(TOKENS_PER_TURN) };
}
