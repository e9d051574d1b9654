import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { aptInstall, canAptInstall } from './apt.js';
import { findBinary } from './binaries.js';

const SOURCE = fileURLToPath(new URL('curator/CuratorHolder.java', import.meta.url));
const JAVA_FOLDER = '/usr/share/java';
/** Debian's jars name what they need in their manifests. */
const JARS = ['curator-recipes', 'curator-framework', 'curator-client', 'slf4j-nop'].map((it) =>
  join(JAVA_FOLDER, `${it}.jar`),
);
const APT_PACKAGE = 'libcurator-recipes-java';

/** @returns why Curator cannot be run here, or `null`. Installs Debian's package where that is allowed, out loud. */
export function whyNoCurator(say: (line: string) => void): string | null {
  if (!findBinary(['javac'])) return 'no javac';
  if (!existsSync(JARS[0]!) && canAptInstall()) {
    try {
      aptInstall(APT_PACKAGE, say);
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }
  return existsSync(JARS[0]!) ? null : `no ${APT_PACKAGE}`;
}

/** Java services that use Curator's recipes, compiled once. */
export class Curator {
  readonly #holders: CuratorHolder[] = [];

  private constructor(private readonly directory: string) {}

  static async compile(): Promise<Curator> {
    const directory = mkdtempSync(join(tmpdir(), 'curator-'));
    const javac = findBinary(['javac'])!;
    await promisify(execFile)(javac, ['-cp', JARS.join(':'), '-d', directory, SOURCE]);
    return new Curator(directory);
  }

  async start(url: string, layout: string, path: string): Promise<CuratorHolder> {
    const classPath = [this.directory, ...JARS].join(':');
    const memory = ['-Xmx64m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'];
    const holder = new CuratorHolder(
      spawn(
        findBinary(['java'])!,
        [...memory, '-cp', classPath, 'CuratorHolder', url, layout, path],
        { stdio: ['pipe', 'pipe', 'inherit'] },
      ),
    );
    this.#holders.push(holder);
    await holder.answer('ready');
    return holder;
  }

  async close(): Promise<void> {
    await Promise.all(this.#holders.map((it) => it.close()));
    rmSync(this.directory, { recursive: true });
  }
}

/** One Java process with one lock. Commands are answered in order. */
export class CuratorHolder {
  readonly #lines: AsyncIterator<string>;
  readonly #gone: Promise<unknown>;

  constructor(private readonly child: ChildProcess) {
    this.#lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    this.#gone = new Promise((resolve) => child.on('exit', resolve));
  }

  get pid(): number {
    return this.child.pid!;
  }

  /** @returns whether the lock was granted within `waitMs`. */
  async acquire(waitMs: number): Promise<boolean> {
    this.child.stdin!.write(`acquire ${waitMs}\n`);
    return (await this.#next()) === 'acquired';
  }

  async release(): Promise<void> {
    this.child.stdin!.write('release\n');
    await this.answer('released');
  }

  async answer(expected: string): Promise<void> {
    const line = await this.#next();
    if (line !== expected) throw new Error(`CuratorHolder said "${line}", not "${expected}".`);
  }

  /** The end of its input ends it. */
  async close(): Promise<void> {
    this.child.stdin!.end();
    await this.#gone;
  }

  async #next(): Promise<string> {
    const { value, done } = await this.#lines.next();
    return done ? 'nothing: it has ended' : value;
  }
}
