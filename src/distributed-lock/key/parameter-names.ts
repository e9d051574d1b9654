import { type SourcePiece, sourcePieces } from './source-pieces.js';

/** One parameter of a method, as its source text shows it. */
export interface Parameter {
  /** `null` for a destructuring pattern: it has a position, but no name. */
  readonly name: string | null;
  /** Words inside a destructuring pattern; empty for a named parameter. */
  readonly inside: readonly string[];
  /** Takes all arguments from its position on. */
  readonly rest: boolean;
}

/**
 * The parameters of a method, read from its source text.
 *
 * @returns `null` where there is no source to read: native and bound functions, and proxies.
 */
// oxlint-disable-next-line typescript/no-unsafe-function-type -- any function: only its source text is read
export function parametersOf(method: Function): readonly Parameter[] | null {
  return parametersIn(Function.prototype.toString.call(method));
}

/** The same for the text itself. */
export function parametersIn(source: string): readonly Parameter[] | null {
  if (/\{\s*\[native code\]\s*\}\s*$/.test(source)) return null;
  const list = parameterList(source);
  return list === null ? null : splitAtCommas(list).map(parameter);
}

/** The text between the parentheses; of `id => …`, the one word. A computed method name is a `[…]` group, so the first `(` opens the list. */
function parameterList(source: string): string | null {
  let before: SourcePiece | undefined;
  for (const piece of sourcePieces(source)) {
    if (piece.kind === 'group' && piece.text.startsWith('(')) return piece.text.slice(1, -1);
    if (piece.text === '=>') return before?.text ?? null;
    if (piece.kind !== 'comment') before = piece;
  }
  return null;
}

function splitAtCommas(list: string): readonly (readonly SourcePiece[])[] {
  const parameters: SourcePiece[][] = [[]];
  for (const piece of sourcePieces(list)) {
    if (piece.kind === 'comment') continue;
    if (piece.text === ',') parameters.push([]);
    else parameters.at(-1)!.push(piece);
  }
  // Nothing after the last comma: a trailing comma, or no parameters at all.
  if (parameters.at(-1)!.length === 0) parameters.pop();
  return parameters;
}

function parameter(pieces: readonly SourcePiece[]): Parameter {
  let at = afterDecorators(pieces);
  const rest = pieces[at]?.text === '...';
  if (rest) at += 1;
  const binding = pieces[at];
  if (binding?.kind === 'word') return { name: binding.text, inside: [], rest };
  return { name: null, inside: binding === undefined ? [] : wordsInside(binding.text), rest };
}

/** `@Param('id') @Pipe id` → the index of `id`. */
function afterDecorators(pieces: readonly SourcePiece[]): number {
  let at = 0;
  while (pieces[at]?.text === '@') {
    at += 2;
    while (pieces[at]?.text === '.') at += 2;
    if (pieces[at]?.kind === 'group') at += 1;
  }
  return at;
}

function wordsInside(group: string): readonly string[] {
  const words: string[] = [];
  for (const piece of sourcePieces(group.slice(1, -1))) {
    if (piece.kind === 'word') words.push(piece.text);
    if (piece.kind === 'group') words.push(...wordsInside(piece.text));
  }
  return words;
}
