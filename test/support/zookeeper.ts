import { existsSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { findBinary } from './binaries.js';
import { TcpProxy } from './tcp-proxy.js';
import {
  type Kept,
  type Throwaway,
  freePort,
  keptDirectory,
  signal,
  startThrowaway,
  temporaryDirectory,
} from './throwaway.js';
import { until } from './until.js';

export interface ZooKeeperOptions {
  /** Further lines of `zoo.cfg`. */
  readonly config?: readonly string[];
  /** Further arguments of the Java machine: `['-Dzookeeper.x=y']`. */
  readonly javaArgs?: readonly string[];
}

/** A ZooKeeper of the test's own. A tick is half a second, so that the shortest session is one second. */
export interface OwnZooKeeper {
  /** `127.0.0.1:<port>`, a connect string. */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  stop(): Promise<void>;
  /** SIGKILL. Resolves when the port is closed. */
  kill(): Promise<void>;
  /** SIGSTOP: connections stay open, nothing is answered. */
  freeze(): void;
  /** SIGCONT. */
  thaw(): void;
  /** A new server on the same port, with the data of the old one; kills that if it still runs. */
  restart(): Promise<void>;
  /** The answer to a four-letter word, such as `srvr`. */
  ask(word: string): Promise<string>;
  /** How many sessions watch a node with such a name. */
  watchers(name: string): Promise<number>;
}

/** Debian keeps the server in `/usr/share/java`; the archive from apache.org has it in `lib`. */
function classPath(): string | undefined {
  const home = process.env['ZOOKEEPER_HOME'];
  if (home && existsSync(join(home, 'lib'))) return join(home, 'lib', '*');
  const jar = '/usr/share/java/zookeeper.jar';
  // Its manifest names the jars that it needs. Without a logger of its own, slf4j says so and is silent.
  return existsSync(jar) ? jar : undefined;
}

export function canStartZooKeeper(): boolean {
  return classPath() !== undefined && findBinary(['java']) !== undefined;
}

/** @throws {Error} if this machine has no ZooKeeper or no Java, or it does not start. */
export async function startZooKeeper(options: ZooKeeperOptions = {}): Promise<OwnZooKeeper> {
  return launchServer({ port: await freePort(), id: null, options, config: [] });
}

export interface OwnEnsemble {
  /** All servers, as a connect string. */
  readonly url: string;
  readonly servers: readonly OwnZooKeeper[];
  leader(): Promise<OwnZooKeeper>;
  followers(): Promise<readonly OwnZooKeeper[]>;
  /** Cuts a follower off from its leader, until `heal`. Its clients still reach it. */
  partition(server: OwnZooKeeper): void;
  heal(server: OwnZooKeeper): Promise<void>;
  stop(): Promise<void>;
}

/** Three servers. Each reaches the others' quorum ports by a proxy of its own. */
export async function startEnsemble(options: ZooKeeperOptions = {}): Promise<OwnEnsemble> {
  const ids = [1, 2, 3];
  const members = await Promise.all(
    ids.map(async () => ({
      port: await freePort(),
      quorum: await freePort(),
      election: await freePort(),
    })),
  );
  const proxies: TcpProxy[][] = [];
  for (const _id of ids) {
    // A server that was elected listens a moment later. A follower that is there before it tries again; were it reset instead, it would
    // call the next election, and the leader would wait five seconds in vain for its followers.
    const patient = { patienceMs: 5_000 };
    const toEach = members.map((it) => TcpProxy.start({ port: it.quorum, ...patient }));
    proxies.push(await Promise.all(toEach));
  }
  const servers = await Promise.all(
    members.map((member, self) => {
      const config = members.map((it, other) => {
        const quorum = other === self ? it.quorum : proxies[self]![other]!.port;
        return `server.${other + 1}=127.0.0.1:${quorum}:${it.election}`;
      });
      return launchServer({ port: member.port, id: self + 1, options, config });
    }),
  );
  const proxiesOf = (server: OwnZooKeeper) => proxies[servers.indexOf(server)]!;
  const roles = () => Promise.all(servers.map((it) => roleOf(it)));
  return {
    url: servers.map((it) => it.url).join(','),
    servers,
    async leader() {
      let leader: OwnZooKeeper | undefined;
      await until('a leader', async () => {
        leader = servers[(await roles()).indexOf('leader')];
        return leader !== undefined;
      });
      return leader!;
    },
    async followers() {
      const found = await roles();
      return servers.filter((_, index) => found[index] === 'follower');
    },
    partition: (server) => {
      for (const proxy of proxiesOf(server)) proxy.blackhole();
    },
    heal: async (server) => {
      await Promise.all(proxiesOf(server).map((it) => it.pass()));
    },
    async stop() {
      await Promise.all(servers.map((it) => it.stop()));
      await Promise.all(proxies.flat().map((it) => it.close()));
    },
  };
}

async function roleOf(server: OwnZooKeeper): Promise<string> {
  const answer = await server.ask('srvr').catch(() => ''); // killed, or not serving at this moment
  return /^Mode: (\w+)$/m.exec(answer)?.[1] ?? 'none';
}

interface Launch {
  readonly port: number;
  /** Number in the ensemble; `null` for a server of its own. */
  readonly id: number | null;
  readonly options: ZooKeeperOptions;
  readonly config: readonly string[];
}

async function launchServer(launch: Launch): Promise<OwnZooKeeper> {
  const java = findBinary(['java']);
  const jars = classPath();
  if (!java || !jars) throw new Error('This machine has no ZooKeeper, or no Java to run it.');
  const { port } = launch;
  // Apart from the server's own directory, which goes with it: a restarted server has its data.
  const data = keptDirectory('zookeeper-data');
  const start = () => launchProcess(java, jars, data, launch);
  let server = await start().catch(async (error: unknown) => {
    await data.remove();
    throw error;
  });
  const kill = async () => {
    signal(server.pid, 'SIGKILL');
    await server.gone;
  };
  return {
    url: `127.0.0.1:${port}`,
    port,
    get pid() {
      return server.pid;
    },
    async stop() {
      await server.stop();
      await data.remove();
    },
    kill,
    freeze: () => signal(server.pid, 'SIGSTOP'),
    thaw: () => signal(server.pid, 'SIGCONT'),
    async restart() {
      await kill();
      server = await start();
    },
    ask: (word) => askWord(port, word),
    async watchers(name) {
      // Of each watched path: a line with the path, and an indented one for each session.
      const lines = (await askWord(port, 'wchp')).split('\n');
      const at = lines.findIndex((it) => it.endsWith(name));
      const sessions = lines.slice(at + 1);
      const end = sessions.findIndex((it) => !it.startsWith('\t'));
      return at < 0 ? 0 : end < 0 ? sessions.length : end;
    },
  };
}

function launchProcess(
  java: string,
  jars: string,
  data: Kept,
  { port, id, options, config }: Launch,
): Promise<Throwaway> {
  const directory = temporaryDirectory('zookeeper');
  const file = join(directory, 'zoo.cfg');
  const lines = [
    `dataDir=${data.directory}`,
    `clientPort=${port}`,
    'clientPortAddress=127.0.0.1',
    'tickTime=500',
    'initLimit=10',
    'syncLimit=10',
    'minSessionTimeout=1000',
    'maxClientCnxns=0',
    'admin.enableServer=false',
    '4lw.commands.whitelist=*',
    'forceSync=no',
    ...config,
    ...(options.config ?? []),
  ];
  writeFileSync(file, lines.join('\n'));
  if (id !== null) writeFileSync(join(data.directory, 'myid'), String(id));
  return startThrowaway({
    name: 'zookeeper',
    command: java,
    args: [
      '-Xmx128m',
      '-XX:+UseSerialGC',
      '-XX:TieredStopAtLevel=1',
      '-Dznode.container.checkIntervalMs=1000',
      // How long an election waits for a server that is dead; the default is five seconds.
      '-Dzookeeper.cnxTimeout=500',
      ...(options.javaArgs ?? []),
      '-cp',
      jars,
      'org.apache.zookeeper.server.quorum.QuorumPeerMain',
      file,
    ],
    directory,
    uses: data,
    isReady: async () => (await askWord(port, 'srvr')).includes('Mode:'),
  });
}

function askWord(port: number, word: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let answer = '';
    socket.setTimeout(1_000, () => socket.destroy(new Error('no answer')));
    socket.on('error', reject);
    socket.on('data', (bytes) => (answer += bytes.toString()));
    socket.on('close', () => resolve(answer));
    socket.write(word);
  });
}
