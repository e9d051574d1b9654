/** One piece of JavaScript source, as far as it matters for finding parameter names. A bracketed group is one piece. */
export interface SourcePiece {
  readonly kind: 'word' | 'group' | 'literal' | 'comment' | 'sign';
  readonly text: string;
}

const CLOSING: Record<string, string> = { '(': ')', '[': ']', '{': '}' };
const LONG_SIGNS = ['=>', '...'];
const WORD = /[\p{ID_Start}\p{N}$_#][\p{ID_Continue}$\u200c\u200d]*/uy;
const BEFORE_AN_OPERAND =
  /^(?:[(,=:[!&|?{};+\-*%<>~^]|=>|\.\.\.|return|typeof|case|void|delete|in|of|new|await|yield)$/;

/**
 * Splits source into pieces, comments included, white space left out.
 *
 * Reads JavaScript just closely enough to know where strings, templates, comments, regular expressions and brackets
 * end. Where a `/` could be a division or a regular expression, the piece before it decides.
 */
export function* sourcePieces(source: string): Generator<SourcePiece> {
  let at = 0;
  let before = '';
  while (at < source.length) {
    if (/\s/.test(source.charAt(at))) {
      at += 1;
      continue;
    }
    const piece = pieceAt(source, at, before);
    yield piece;
    at += piece.text.length;
    if (piece.kind !== 'comment') before = piece.text;
  }
}

function pieceAt(source: string, at: number, before: string): SourcePiece {
  const literal = endOfLiteral(source, at, before);
  if (literal !== null) return { kind: 'literal', text: source.slice(at, literal) };
  const comment = endOfComment(source, at);
  if (comment !== null) return { kind: 'comment', text: source.slice(at, comment) };
  if (source.charAt(at) in CLOSING)
    return { kind: 'group', text: source.slice(at, endOfGroup(source, at)) };
  WORD.lastIndex = at;
  const [word] = WORD.exec(source) ?? [];
  if (word !== undefined) return { kind: 'word', text: word };
  const long = LONG_SIGNS.find((sign) => source.startsWith(sign, at));
  return { kind: 'sign', text: long ?? source.charAt(at) };
}

function endOfLiteral(source: string, at: number, before: string): number | null {
  const first = source.charAt(at);
  if (first === '"' || first === "'") return endOfQuoted(source, at, first);
  if (first === '`') return endOfTemplate(source, at);
  if (first !== '/' || endOfComment(source, at) !== null) return null;
  return before === '' || BEFORE_AN_OPERAND.test(before) ? endOfRegExp(source, at) : null;
}

function endOfComment(source: string, at: number): number | null {
  if (source.startsWith('//', at)) return indexAfter(source, /[\n\r\u2028\u2029]|$/g, at);
  if (source.startsWith('/*', at)) return indexAfter(source, /\*\/|$/g, at + 2);
  return null;
}

function endOfGroup(source: string, open: number): number {
  const close = CLOSING[source.charAt(open)];
  let at = open + 1;
  let before = source.charAt(open);
  while (at < source.length && source.charAt(at) !== close) {
    if (/\s/.test(source.charAt(at))) {
      at += 1;
      continue;
    }
    const piece = pieceAt(source, at, before);
    at += piece.text.length;
    if (piece.kind !== 'comment') before = piece.text;
  }
  return at + 1;
}

function endOfQuoted(source: string, open: number, quote: string): number {
  let at = open + 1;
  while (at < source.length && source.charAt(at) !== quote)
    at += source.charAt(at) === '\\' ? 2 : 1;
  return at + 1;
}

function endOfTemplate(source: string, open: number): number {
  let at = open + 1;
  while (at < source.length && source.charAt(at) !== '`') {
    if (source.startsWith('${', at)) at = endOfGroup(source, at + 1);
    else at += source.charAt(at) === '\\' ? 2 : 1;
  }
  return at + 1;
}

/** A `/` inside a character class does not end a regular expression. Flags are read as a word of their own. */
function endOfRegExp(source: string, open: number): number {
  let inClass = false;
  let at = open + 1;
  while (at < source.length && (inClass || source.charAt(at) !== '/')) {
    const char = source.charAt(at);
    if (char === '[') inClass = true;
    if (char === ']') inClass = false;
    at += char === '\\' ? 2 : 1;
  }
  return at + 1;
}

function indexAfter(source: string, end: RegExp, from: number): number {
  end.lastIndex = from;
  return end.exec(source) === null ? source.length : end.lastIndex;
}
