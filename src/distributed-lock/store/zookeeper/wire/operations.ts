import type { CreatedNode, NodeKind, NodeStat } from '../zookeeper.session.js';
import type { JuteReader, JuteWriter } from './jute.js';

/** Who may do what with a node: `permissions` is the sum of 1 read, 2 write, 4 create, 8 delete, 16 admin. */
export interface WireAcl {
  readonly permissions: number;
  readonly scheme: string;
  readonly id: string;
}

/** One request of the protocol and how to read its answer. Numbers: `org.apache.zookeeper.ZooDefs.OpCode`. */
export interface Operation<T> {
  /** For errors: `create /lock/mutex`. */
  readonly name: string;
  readonly code: number;
  /** Whether an answer proves that the server is in touch with the leader: a follower that was cut off still answers reads. */
  readonly viaLeader: boolean;
  write(to: JuteWriter): void;
  read(from: JuteReader): T;
}

const FLAGS: Readonly<Record<NodeKind, number>> = {
  persistent: 0,
  'ephemeral-sequential': 3,
  container: 4,
};

export function createNode(
  path: string,
  kind: NodeKind,
  data: Buffer,
  acl: readonly WireAcl[],
): Operation<CreatedNode> {
  return {
    name: `create ${path}`,
    code: kind === 'container' ? 19 : 15,
    viaLeader: true,
    write: (to) => {
      to.text(path).buffer(data);
      to.list(acl, (it) => to.int(it.permissions).text(it.scheme).text(it.id)).int(FLAGS[kind]);
    },
    read: (from) => ({ path: from.text(), ...readStat(from) }),
  };
}

export function deleteNode(path: string): Operation<void> {
  return {
    name: `delete ${path}`,
    code: 2,
    viaLeader: true,
    write: (to) => to.text(path).int(-1),
    read: () => undefined,
  };
}

export function statNode(path: string): Operation<NodeStat> {
  return {
    name: `exists ${path}`,
    code: 3,
    viaLeader: false,
    write: (to) => to.text(path).bool(false),
    read: readStat,
  };
}

/** With `getData`, not `exists`: on a missing node the latter would leave a watch behind for ever. */
export function watchNode(path: string): Operation<void> {
  return {
    name: `watch ${path}`,
    code: 4,
    viaLeader: false,
    write: (to) => to.text(path).bool(true),
    read: () => undefined,
  };
}

export function childrenOf(path: string): Operation<readonly string[]> {
  return {
    name: `list ${path}`,
    code: 8,
    viaLeader: false,
    write: (to) => to.text(path).bool(false),
    read: (from) => from.list(() => from.text()),
  };
}

/** Goes through the leader and changes nothing. */
export function sync(): Operation<void> {
  return {
    name: 'sync',
    code: 9,
    viaLeader: true,
    write: (to) => to.text('/'),
    read: () => undefined,
  };
}

export function closeSession(): Operation<void> {
  return {
    name: 'close',
    code: -11,
    viaLeader: false,
    write: () => undefined,
    read: () => undefined,
  };
}

/** czxid, mzxid, ctime, mtime, version, cversion, aversion, ephemeralOwner, dataLength, numChildren, pzxid */
function readStat(from: JuteReader): NodeStat {
  const czxid = from.long();
  from.skip(3 * 8 + 3 * 4 + 8 + 2 * 4 + 8);
  return { czxid };
}
