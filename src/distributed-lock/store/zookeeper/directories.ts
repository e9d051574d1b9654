import { LockConfigurationError } from '../../distributed-lock.errors.js';
import { hasCode } from './zookeeper.errors.js';
import { parentOf } from './zookeeper.paths.js';
import type { ZooKeeperSession } from './zookeeper.session.js';

/** Makes the directories of locks. */
export class Directories {
  constructor(
    private readonly session: ZooKeeperSession,
    /** Nodes up to here stay for ever; those below are containers, which the server removes when they have been empty for a while. */
    readonly base: string,
  ) {}

  /**
   * Makes a directory, and those above it that are missing. One that is there already is left as it is.
   *
   * @throws {LockConfigurationError} if the chroot does not exist: ZooKeeper leaves that to whoever runs it.
   */
  async make(path: string): Promise<void> {
    try {
      await this.session.create(path, path.length > this.base.length ? 'container' : 'persistent');
    } catch (error) {
      if (hasCode(error, 'NodeExists')) return;
      if (!hasCode(error, 'NoNode')) throw error;
      const parent = parentOf(path);
      if (parent === '') throw noChroot(error);
      await this.make(parent);
      await this.make(path);
    }
  }

  /** Makes the base, unless it is there: who may not make it may still use it. */
  async makeBase(): Promise<void> {
    try {
      await this.session.stat(this.base);
    } catch (error) {
      if (!hasCode(error, 'NoNode')) throw error;
      await this.make(this.base);
    }
  }
}

function noChroot(cause: Error): LockConfigurationError {
  return new LockConfigurationError(
    'Option "connectString" of zookeeperStore has a chroot that does not exist; allowed: the path of an existing node, or none.',
    { cause },
  );
}
