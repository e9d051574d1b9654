import type { Redis } from 'ioredis';
import { LockConfigurationError } from '../../distributed-lock.errors.js';
import { redisError } from '../redis-client/redis.errors.js';

/** Which server process this is; changes with each start. */
export interface NodeIdentity {
  readonly runId: string;
}

/**
 * Asks a server who it is.
 *
 * @throws {LockConfigurationError} if it cannot vote for itself: a replica, or a node of a Redis Cluster.
 */
export async function checkNode(client: Redis, name: string): Promise<NodeIdentity> {
  const info = await client.info().catch((error: unknown) => {
    throw redisError(error, null);
  });
  const field = (of: string): string => new RegExp(`^${of}:(.*?)\r?$`, 'm').exec(info)?.[1] ?? '';
  const refuse = (what: string): never => {
    throw new LockConfigurationError(
      `Option "connections" of redlockStore: ${name} is ${what}; allowed: independent masters.`,
    );
  };
  if (field('redis_mode') === 'cluster') refuse('a node of a Redis Cluster');
  if (field('redis_mode') === 'sentinel') refuse('a Sentinel');
  if (field('role') === 'slave') refuse('a replica');
  return { runId: field('run_id') };
}
