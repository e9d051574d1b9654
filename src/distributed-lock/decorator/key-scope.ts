import { show } from '../distributed-lock.duration.js';
import { LockConfigurationError } from '../distributed-lock.errors.js';

/** Where a decorator stands. */
export interface MethodPlace {
  readonly className: string;
  readonly name: string | symbol;
  /** `Class.method`, for messages. */
  readonly where: string;
}

/**
 * What the keys of a method begin with: `''`, or `Class#method:`. `:`, `#` and `%` in a name are percent-encoded, so that no two
 * places have prefixes of which one begins with the other.
 *
 * @throws {LockConfigurationError} for an unknown scope, and for a method whose place has no name of its own.
 */
export function keyPrefixOf({ className, name, where }: MethodPlace, scope: unknown): string {
  if (scope === undefined || scope === 'global') return '';
  if (scope !== 'method') {
    throw new LockConfigurationError(
      `Option "${where}: scope" is ${show(scope)}; allowed: 'global', 'method'.`,
    );
  }
  if (className === '' || typeof name === 'symbol') {
    throw new LockConfigurationError(
      `Option "${where}: scope" is 'method'; allowed where class and method have names. Write the prefix into the key instead.`,
    );
  }
  return `${encoded(className)}#${encoded(name)}:`;
}

function encoded(name: string): string {
  return name.replaceAll(/[%#:]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`);
}
