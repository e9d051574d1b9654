import { LockConfigurationError } from '../distributed-lock.errors.js';
import { type Parameter, parametersOf } from './parameter-names.js';

/**
 * Finds the argument that belongs to a parameter name; of a rest parameter, the array of them.
 *
 * @throws {LockConfigurationError} if the method has no such parameter, or its source cannot be read; with the way out.
 */
// oxlint-disable-next-line typescript/no-unsafe-function-type -- any method: only its source text is read
export function namedArgument(
  name: string,
  method: Function,
  expression: string,
  where: string,
): (args: readonly unknown[]) => unknown {
  const refuse = (what: string) =>
    new LockConfigurationError(
      `${where}: key expression "${expression}" names the parameter "${name}", but ${what}`,
    );
  const parameters = parametersOf(method);
  if (parameters === null) {
    throw refuse(
      'parameter names cannot be read here: the method is wrapped by another decorator. Put @DistributedLock directly above ' +
        'the method (below the other decorator only if that opens no transaction), or use a position such as {0}, or a function.',
    );
  }
  const index = parameters.findIndex((parameter) => parameter.name === name);
  const found = parameters[index];
  if (found === undefined) throw refuse(whyUnknown(name, parameters));
  return found.rest ? (args) => args.slice(index) : (args) => args[index];
}

function whyUnknown(name: string, parameters: readonly Parameter[]): string {
  const position = parameters.findIndex((parameter) => parameter.inside.includes(name));
  if (position >= 0) {
    return `it stands inside the destructured parameter ${position}. Use its position, such as {${position}.${name}}, or a function.`;
  }
  const names = parameters.map((parameter, index) => parameter.name ?? `{${index}} (destructured)`);
  const has = names.length === 0 ? 'has no parameters' : `has: ${names.join(', ')}`;
  // What wrappers of other decorators look like: (...args), or () with `arguments`.
  const wrapped =
    names.length === 0 || parameters.some((parameter) => parameter.rest)
      ? ' If another decorator has wrapped the method, use a position such as {0}, or a function.'
      : '';
  return `the method ${has}.${wrapped}`;
}
