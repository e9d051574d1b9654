import { LockKeyError } from '../distributed-lock.errors.js';

declare const checked: unique symbol;

/** The checked name of what a lock protects, such as `application:42`. The store adds the namespace. */
export type LockKey = string & { readonly [checked]: 'LockKey' };

/** Longest key, counted in UTF-8 bytes. */
export const MAX_KEY_BYTES = 512;

/**
 * @returns the text as a key: 1 to {@link MAX_KEY_BYTES} bytes of any Unicode, used as it is (case and spaces count).
 * @throws {LockKeyError} for anything else; a lock called `undefined` or `[object Object]` would be shared by strangers.
 */
export function lockKey(text: unknown): LockKey {
  if (typeof text !== 'string') {
    throw new LockKeyError(`A lock key must be a string, not ${describe(text)}.`);
  }
  if (text === '') throw new LockKeyError('A lock key must not be empty.');
  if (!text.isWellFormed()) {
    throw new LockKeyError(
      `A lock key must be well-formed Unicode; ${JSON.stringify(text)} has a lone surrogate.`,
    );
  }
  const bytes = Buffer.byteLength(text);
  if (bytes > MAX_KEY_BYTES) {
    throw new LockKeyError(
      `A lock key has at most ${MAX_KEY_BYTES} bytes; "${text.slice(0, 60)}…" has ${bytes}. Hash the long part.`,
    );
  }
  return text as LockKey;
}

/**
 * One key or several, as a function returned or a caller gave them: checked, sorted and without duplicates.
 * That is the order in which all callers acquire them.
 *
 * @throws {LockKeyError} also for a key in which a missing value was printed: `application:undefined`.
 */
export function lockKeys(texts: unknown): readonly LockKey[] {
  if (!Array.isArray(texts)) return [wholeKey(texts)];
  if (texts.length === 0) {
    throw new LockKeyError('The list of keys is empty: that would run the method without a lock.');
  }
  return [...new Set(texts.map(wholeKey))].sort();
}

const PRINTED_HOLE =
  /(?:^|[:/|,;#=&])(undefined|null|NaN|\[object [^\]]*\]|Invalid Date)(?=$|[:/|,;#=&])/;

/** A template literal prints a missing value as a word. Text alone cannot tell that from a name, so a whole part that reads so is refused. */
function wholeKey(text: unknown): LockKey {
  const key = lockKey(text);
  const hole = PRINTED_HOLE.exec(key)?.[1];
  if (hole === undefined) return key;
  throw new LockKeyError(
    `Key ${JSON.stringify(key)} has the part "${hole}": a value is missing, and all such calls would share one lock. ` +
      'Where that text is a real value, use a key expression such as "user:{name}", which sees values before they become text.',
  );
}

/** How a rejected value is shown in an error. */
export function describe(value: unknown): string {
  if (value === null || value === undefined || typeof value === 'number') return String(value);
  if (typeof value === 'string') return JSON.stringify(value);
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object') return `an object (${value.constructor?.name ?? 'no prototype'})`;
  return `a ${typeof value}`;
}
