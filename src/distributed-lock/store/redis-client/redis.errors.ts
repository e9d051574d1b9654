import {
  LockConfigurationError,
  LockStoreUnavailableError,
} from '../../distributed-lock.errors.js';

/** Replies that a retry cannot change: permissions, types and commands are wrong, not the moment. */
const CONFIGURATION = [
  /^NOPERM/,
  /^(ERR )?The user executing the script can't/i, // NOPERM inside a script, before Redis 7.2
  /^WRONGTYPE/,
  /^NOAUTH/,
  /^WRONGPASS/,
  /^CROSSSLOT/,
  /^MOVED /, // ioredis follows it, but for a client that is not a Cluster
  /^(ERR )?This instance has cluster support disabled/,
  /^ERR unknown command/i,
  /^ERR Unknown Redis command/i,
  /^ERR (Client sent AUTH|invalid password|DB index|SELECT is not allowed)/i,
  /^NOPROTO/,
];

/** Before Redis 7 an error inside a script is wrapped: `ERR Error running script (call to f_…): @user_script:7: OOM command …`. */
const WRAPPED = /^ERR Error running script .*?@user_script:\d+: -?(.*)$/s;

/**
 * "Busy" is an answer of the scripts; everything else is sorted here: what a retry can mend (the connection is closed, LOADING,
 * READONLY, MASTERDOWN, NOREPLICAS, OOM, MISCONF, BUSY script, CLUSTERDOWN, TRYAGAIN, time-outs) and what it cannot.
 */
export function redisError(
  error: unknown,
  key: string | null,
): LockStoreUnavailableError | LockConfigurationError {
  const message = error instanceof Error ? error.message : String(error);
  const reply = WRAPPED.exec(message)?.[1] ?? message;
  if (CONFIGURATION.some((pattern) => pattern.test(reply))) {
    const where = key === null ? 'Redis' : `Lock "${key}": Redis`;
    return new LockConfigurationError(`${where} refuses the lock's commands: ${reply}`, {
      cause: error,
      ...(key !== null && { key }),
    });
  }
  return new LockStoreUnavailableError('redis', key, plain(reply), { cause: error });
}

/**
 * What the answer of `probe.lua` means for the boot.
 *
 * @throws {LockConfigurationError} naming the commands that the server refuses
 * @throws {LockStoreUnavailableError} for another failure. Not for a full memory: held locks are served then, too.
 */
export function checkProbe(failed: readonly string[]): void {
  const refused: string[] = [];
  for (let index = 0; index < failed.length; index += 2) {
    const [command, message] = [failed[index]!, failed[index + 1]!];
    const error = redisError(new Error(message), null);
    if (error instanceof LockConfigurationError) refused.push(`${command} (${message})`);
    else if (!error.detail.startsWith('OOM')) throw error;
  }
  if (refused.length === 0) return;
  throw new LockConfigurationError(
    `Redis refuses commands that the lock needs: ${refused.join(', ')}`,
  );
}

/** ioredis' own texts, in words that say what happened. */
function plain(reply: string): string {
  if (reply.startsWith("Stream isn't writeable")) return 'not connected';
  if (reply.startsWith('Reached the max retries per request')) return 'the connection was lost';
  return reply;
}
