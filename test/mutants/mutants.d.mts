/** Described in `mutants.mjs`. */
export interface Mutant {
  readonly what: string;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  readonly spec: string;
}
export const MUTANTS: readonly Mutant[];
