import { LockConfigurationError, LockKeyError } from '../distributed-lock.errors.js';
import { describe } from './lock-key.js';
import { namedArgument } from './named-argument.js';

/** The text of one call's key. */
export type KeyText = (args: readonly unknown[]) => string;

/** `{command.ids.0}`: which argument, then which property of it, and so on. */
interface Placeholder {
  readonly text: string;
  readonly root: string;
  readonly path: readonly string[];
}

/**
 * Compiles a key expression such as `'application:{command.applicationId}'` for one method.
 *
 * - `{name}` is the parameter of that name, `{0}` the first argument; `.part` reads a property, to any depth
 * - `{ids}` of a rest parameter is an array; read its elements with `{ids.0}`
 * - `{{` and `}}` are literal braces
 * - a string, a finite number, a bigint and a boolean become text; `42` and `'42'` name the same lock
 * - the value a parameter has by default is not seen: the key is formed before the method runs
 *
 * Different arguments give different keys. Where an expression has several placeholders, the signs that separate them
 * (and `%`) are percent-encoded in the values: `{a}:{b}` is `1%3A2:3` for `'1:2', '3'` and `1:2%3A3` for `'1', '2:3'`.
 *
 * @param where `Class.method`, for messages.
 * @throws {LockConfigurationError} for a malformed expression, and for a name that the method does not have.
 */
// oxlint-disable-next-line typescript/no-unsafe-function-type -- any method: only its source text is read
export function compileKeyExpression(expression: string, method: Function, where: string): KeyText {
  const parts = parse(expression, where);
  const escape = separatorEscape(parts, expression, where);
  const readers = parts.map((part) =>
    typeof part === 'string'
      ? () => part
      : placeholderReader(part, method, expression, where, escape),
  );
  return (args) => readers.map((read) => read(args)).join('');
}

const TOKEN = /\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+/gy;

/** What a token that may not stand there means. */
const STRAY: Record<string, string> = {
  '{': '"{" is never closed (a literal brace is written "{{")',
  '}': '"}" closes nothing (a literal brace is written "}}")',
};

type Part = string | Placeholder;

/** @returns literals and placeholders in the order of the expression; no two literals in a row. */
function parse(expression: string, where: string): readonly Part[] {
  if (expression === '' || !expression.isWellFormed()) {
    throw new LockConfigurationError(
      `${where}: option "key" is ${JSON.stringify(expression)}; allowed: a text, not empty.`,
    );
  }
  const parts: Part[] = [];
  for (const { 0: text, 1: inside, index } of expression.matchAll(TOKEN)) {
    const wrong = STRAY[text] ?? whyNoPlaceholder(text, inside);
    if (wrong !== undefined) {
      throw new LockConfigurationError(
        `${where}: key expression "${expression}": ${wrong} at position ${index}.`,
      );
    }
    const [part, before] = [partOf(text, inside), parts.at(-1)];
    if (typeof part === 'string' && typeof before === 'string') parts.splice(-1, 1, before + part);
    else parts.push(part);
  }
  refuseConstantWithBraces(expression, parts, where);
  return parts;
}

function whyNoPlaceholder(text: string, inside: string | undefined): string | undefined {
  if (inside === undefined || /^[^\s.]+(?:\.[^\s.]+)*$/.test(inside)) return undefined;
  return `"${text}" is not a placeholder (allowed: {name}, {name.part}, {0}, {0.part})`;
}

function partOf(text: string, inside: string | undefined): Part {
  if (inside === undefined) return text === '{{' || text === '}}' ? text.charAt(0) : text;
  const [root = '', ...path] = inside.split('.');
  return { text, root, path };
}

/** `'application:{{id}}'` would give every caller the lock called `application:{id}`. */
function refuseConstantWithBraces(expression: string, parts: readonly Part[], where: string): void {
  if (!/[{}]/.test(expression) || parts.some((part) => typeof part !== 'string')) return;
  throw new LockConfigurationError(
    `${where}: key expression "${expression}" has literal braces but no placeholder, so all calls would share one lock. ` +
      'A placeholder has single braces: {id}. For a constant key with braces use a function.',
  );
}

/**
 * How values are written so that different values never make one key.
 *
 * Every separator must have a sign that no written value can contain: then the first such sign ends the value, and the
 * key can be taken apart again in one way only. ASCII letters, digits and `%` cannot be that sign: escapes consist of them.
 */
function separatorEscape(
  parts: readonly Part[],
  expression: string,
  where: string,
): (value: string) => string {
  const first = parts.findIndex((part) => typeof part !== 'string');
  const last = parts.findLastIndex((part) => typeof part !== 'string');
  if (first === last) return (value) => value;

  const signs = new Set('%');
  for (let at = first; at < last; at += 1) {
    const [part, next] = [parts[at]!, parts[at + 1]!];
    const separator = typeof part === 'string' ? part : typeof next === 'string' ? next : '';
    const own = Array.from(separator).filter((char) => !/[A-Za-z0-9%]/.test(char));
    if (own.length === 0) {
      throw new LockConfigurationError(
        `${where}: key expression "${expression}" has placeholders with ${separator === '' ? 'nothing' : `only "${separator}"`} between them, ` +
          'so different values could make the same key. Separate them by a sign, such as "{a}:{b}".',
      );
    }
    for (const char of own) signs.add(char);
  }
  return (value) =>
    Array.from(value, (char) => (signs.has(char) ? percentEncoded(char) : char)).join('');
}

function percentEncoded(char: string): string {
  return [...Buffer.from(char)]
    .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`)
    .join('');
}

function placeholderReader(
  placeholder: Placeholder,
  // oxlint-disable-next-line typescript/no-unsafe-function-type -- as above
  method: Function,
  expression: string,
  where: string,
  escape: (value: string) => string,
): KeyText {
  const argument = /^\d+$/.test(placeholder.root)
    ? (args: readonly unknown[]) => args[Number(placeholder.root)]
    : namedArgument(placeholder.root, method, expression, where);
  const refuse = (what: string, options?: ErrorOptions) =>
    new LockKeyError(
      `${where}: key expression "${expression}": ${placeholder.text} ${what}`,
      options,
    );

  return (args) => {
    let value = argument(args);
    let reached = placeholder.root;
    for (const part of placeholder.path) {
      if (typeof value !== 'object' || value === null) {
        throw refuse(`cannot be read: "${reached}" is ${describe(value)} and has no "${part}".`);
      }
      value = property(value, part, refuse);
      reached += `.${part}`;
    }
    return escape(keyPart(value, refuse));
  };
}

type Refuse = (what: string, options?: ErrorOptions) => LockKeyError;

function property(object: object, name: string, refuse: Refuse): unknown {
  try {
    return (object as Record<string, unknown>)[name];
  } catch (cause) {
    throw refuse(`cannot be read: the getter "${name}" failed.`, { cause });
  }
}

function keyPart(value: unknown, refuse: Refuse): string {
  if (typeof value === 'string' && value !== '') return value;
  if (typeof value === 'bigint' || typeof value === 'boolean' || Number.isFinite(value))
    return String(value);
  const shown = value === '' ? 'an empty string' : describe(value);
  throw refuse(
    `is ${shown}; allowed: a string that is not empty, a finite number, a bigint, a boolean.`,
  );
}
