import { aptInstall, canAptInstall } from './apt.js';
import { findBinary } from './binaries.js';

type Say = (line: string) => void;

/**
 * Whether this machine has the program; as root on Debian or Ubuntu it is installed first, out loud.
 *
 * For what specs start by themselves and what is no service: a pooler.
 *
 * @throws {Error} if it cannot be had and `REQUIRE_SERVICES` is `all`.
 */
export function getProgram(name: string, say: Say): boolean {
  if (findBinary([name])) return true;
  let reason = 'it is not installed';
  if (canAptInstall()) {
    try {
      aptInstall(name, say);
    } catch (error) {
      reason = error instanceof Error ? error.message : String(error);
    }
  }
  if (findBinary([name])) return true;
  if (process.env['REQUIRE_SERVICES'] === 'all')
    throw new Error(`REQUIRE_SERVICES=all, but this program cannot be had: ${name} (${reason})`);
  return false;
}
