import type {
  SessionListener,
  WatchListener,
  ZooKeeperSession,
} from '../../src/distributed-lock/store/zookeeper/index.js';
import { rawSession } from '../contract/zookeeper-world.js';

/** The commands of one or more sessions, in order: `create`, `list`, `watch`, `delete`, `stat`, `confirm`. */
export class CommandLog {
  readonly commands: string[] = [];

  /** For the option `openSession`. */
  openSession(url: string): (listener: SessionListener) => ZooKeeperSession {
    return (listener) => this.#logged(rawSession(url, 10_000, listener));
  }

  /** @returns the commands since it was last asked, without the heartbeats. */
  take(): string[] {
    return this.commands.splice(0);
  }

  #logged(session: ZooKeeperSession): ZooKeeperSession {
    const { commands } = this;
    return {
      get trouble() {
        return session.trouble;
      },
      get validUntil() {
        return session.validUntil;
      },
      whenConnected: () => session.whenConnected(),
      create(path, kind) {
        commands.push(kind === 'ephemeral-sequential' ? 'create' : `create ${kind}`);
        return session.create(path, kind);
      },
      delete(path) {
        commands.push('delete');
        return session.delete(path);
      },
      stat(path) {
        commands.push('stat');
        return session.stat(path);
      },
      getChildren(path) {
        commands.push('list');
        return session.getChildren(path);
      },
      watch(path: string, listener: WatchListener) {
        commands.push('watch');
        return session.watch(path, listener);
      },
      unwatch: (path, listener) => session.unwatch(path, listener),
      confirm() {
        commands.push('confirm');
        return session.confirm();
      },
      close: () => session.close(),
      drop: () => session.drop(),
    };
  }
}
