import { describe, expect, it } from 'vitest';
import { parametersIn, parametersOf } from './parameter-names.js';

/** As the engine holds it: the text is compiled first, so a case that is not JavaScript fails. */
function method(source: string): Function {
  const object = new Function('computed', `return { ${source} };`)('computed name') as object;
  return Object.values(object)[0] as Function;
}

const names = (of: Function) =>
  parametersOf(of)?.map(({ name, rest }) => (rest ? `...${name}` : name));

describe('the names of parameters', () => {
  it.each<[string, readonly (string | null)[]]>([
    ['m() {}', []],
    ['async m(a, b) {}', ['a', 'b']],
    ['async m(a, b,) {}', ['a', 'b']],
    ['async m(\n  a, // the first, of course\n  /* b, */ c /* ) */,\n) {}', ['a', 'c']],
    ['async m /* (x) */ (a) {}', ['a']],
    ["async m(a = String('x'), b) {}", ['a', 'b']],
    ['async m(a = \')\', b = "(,", c) {}', ['a', 'b', 'c']],
    ["async m(a = 'it\\'s, (', b) {}", ['a', 'b']],
    ['async m(a = `)${[1, `,${")"}`].join(",")}(`, b) {}', ['a', 'b']],
    ['async m(a = /[/)]\\/,\\(/g, b) {}', ['a', 'b']],
    ['async m(a = 6 / 2, b = 1 / (3), c) {}', ['a', 'b', 'c']],
    ['async m(a = (x, y) => ({ x, y }), b) {}', ['a', 'b']],
    ['async m(a = function (x, y) { return /,/.test(x) }, b) {}', ['a', 'b']],
    ['async m(a = [1, 2, { k: [3, 4] }], b = { x: 1, y: 2 }) {}', ['a', 'b']],
    ['async m(a = class { n(x, y) {} }, b) {}', ['a', 'b']],
    ['async m({ a, b: { c } }, d) {}', [null, 'd']],
    ['async m([a, b] = [], d) {}', [null, 'd']],
    ['async m(first, ...ids) {}', ['first', '...ids']],
    ['async m(first, ...[a, b]) {}', ['first', '...null']],
    ['async [computed + "(x)"](a) {}', ['a']],
    ['async "quoted (x)"(a) {}', ['a']],
    ['async m($a, _b, ünï, 名前) {}', ['$a', '_b', 'ünï', '名前']],
    ['async async(async, of, get) {}', ['async', 'of', 'get']],
    ['async get(id) {}', ['id']],
    ['* m(a) {}', ['a']],
    ['async * m(a) {}', ['a']],
  ])('of `%s` are %j', (source, expected) => {
    expect(names(method(source))).toEqual(expected);
  });

  it.each<[string, readonly (string | null)[]]>([
    ['function (a, b) {}', ['a', 'b']],
    ['async function named(a, b) {}', ['a', 'b']],
    ['(a, b) => a', ['a', 'b']],
    ['a => a', ['a']],
    ['async a => (a)', ['a']],
    ['async (...args) => args', ['...args']],
  ])('of `%s`, which another decorator may have put there, are %j', (source, expected) => {
    expect(names(method(`m: ${source}`))).toEqual(expected);
  });

  it('skips decorators in a parameter list, should a compiler leave them there', () => {
    const source = 'm(@Param("id") id, @Body() @pipes.trim(")") body, @plain other) {}';
    expect(parametersIn(source)?.map(({ name }) => name)).toEqual(['id', 'body', 'other']);
  });

  it('of a class method are read from the class', () => {
    class Quotes {
      async submit(applicationId: string, { amount }: { amount: number }): Promise<unknown> {
        return [applicationId, amount];
      }
    }
    expect(names(Quotes.prototype.submit)).toEqual(['applicationId', null]);
  });

  it('inside a destructured parameter are listed, for the advice', () => {
    const [pattern] = parametersOf(method('m({ a, b: { c: [d] = [] }, ...rest }) {}'))!;
    expect(pattern?.inside).toEqual(expect.arrayContaining(['a', 'd', 'rest']));
  });

  it.each<[string, Function]>([
    ['a bound function', (async (id: string) => id).bind(null)],
    ['a native function', Math.max],
    ['a proxy', new Proxy(async (id: string) => id, {})],
  ])('of %s cannot be read', (_what, opaque) => {
    expect(parametersOf(opaque)).toBeNull();
  });
});
