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
  readonly #services: CuratorService[] = [];

  private constructor(private readonly directory: string) {}

  static async compile(): Promise<Curator> {
    const directory = mkdtempSync(join(tmpdir(), 'curator-'));
    const javac = findBinary(['javac'])!;
    await promisify(execFile)(javac, ['-cp', JARS.join(':'), '-d', directory, SOURCE]);
    return new Curator(directory);
  }

  /** @param sessionTimeoutMs how long its locks outlive it. */
  async start(url: string, sessionTimeoutMs = 10_000): Promise<CuratorService> {
    const classPath = [this.directory, ...JARS].join(':');
    const memory = ['-Xmx64m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1'];
    const service = new CuratorService(
      spawn(
        findBinary(['java'])!,
        [...memory, '-cp', classPath, 'CuratorHolder', url, String(sessionTimeoutMs)],
        { stdio: ['pipe', 'pipe', 'inherit'] },
      ),
    );
    this.#services.push(service);
    await service.answer('ready');
    return service;
  }

  async close(): Promise<void> {
    await Promise.all(this.#services.map((it) => it.close()));
    rmSync(this.directory, { recursive: true });
  }
}

/** `InterProcessMutex`, `InterProcessSemaphoreMutex`, and the two locks of an `InterProcessReadWriteLock`. */
export type CuratorRecipe = 'mutex' | 'semaphore-mutex' | 'write' | 'read';

/** A lock of one Java process. */
export interface CuratorLock {
  /** @returns whether the lock was granted within `waitMs`. */
  acquire(waitMs: number): Promise<boolean>;
  release(): Promise<void>;
}

/** One Java process with any number of locks. It does one thing after another, also where that is waiting. */
export class CuratorService {
  readonly #lines: AsyncIterator<string>;
  readonly #gone: Promise<unknown>;

  constructor(private readonly child: ChildProcess) {
    this.#lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    this.#gone = new Promise((resolve) => child.on('exit', resolve));
  }

  lock(recipe: CuratorRecipe, path: string): CuratorLock {
    const { stdin } = this.child;
    return {
      acquire: async (waitMs) => {
        stdin!.write(`acquire ${recipe} ${path} ${waitMs}\n`);
        return (await this.#next()) === 'acquired';
      },
      release: () => {
        stdin!.write(`release ${recipe} ${path}\n`);
        return this.answer('released');
      },
    };
  }

  async answer(expected: string): Promise<void> {
    const line = await this.#next();
    if (line !== expected) throw new Error(`CuratorHolder said "${line}", not "${expected}".`);
  }

  /** SIGKILL: its session is left to its timeout. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.#gone;
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
