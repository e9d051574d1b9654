import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { ensureBuilt } from '../support/build.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const FIXTURES = join(ROOT, 'test/packaging');

/** The applications, by the module system that they are written in. */
export const APPS = ['esm', 'cjs'] as const;
export type AppName = (typeof APPS)[number];

/** Where users go in: the subpaths of the package that are code. */
export function doors(): string[] {
  const { name, exports } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    name: string;
    exports: Record<string, unknown>;
  };
  return Object.keys(exports)
    .filter((path) => path !== './package.json')
    .map((path) => name + path.slice(1));
}

/** The packed package, installed beside applications in a temporary directory. */
export class PackedPackage {
  readonly #directory = mkdtempSync(join(tmpdir(), 'distributed-lock-packaging-'));

  /** Packs what the sources say; installs and compiles nothing. */
  static async pack(): Promise<PackedPackage> {
    await ensureBuilt();
    const packed = new PackedPackage();
    const { stdout } = await run(
      'npm',
      ['pack', '--json', '--pack-destination', packed.#directory],
      ROOT,
    );
    const [{ filename }] = JSON.parse(stdout) as [{ filename: string }];
    cpSync(
      join(packed.#directory, filename),
      join(packed.#directory, 'nestjs-distributed-lock.tgz'),
    );
    return packed;
  }

  directoryOf(app: AppName): string {
    return join(this.#directory, app);
  }

  /** From the lock file, and so the same versions everywhere; what npm has in its cache is not downloaded again. */
  async install(app: AppName): Promise<void> {
    cpSync(join(FIXTURES, app), this.directoryOf(app), { recursive: true });
    cpSync(join(FIXTURES, 'app.ts'), join(this.directoryOf(app), 'app.ts'));
    await this.npm(app, ['ci', '--prefer-offline', '--ignore-scripts']);
  }

  /** As a user's compiler does it: with types, both module systems chosen by their package.json. */
  async compile(): Promise<void> {
    writeFileSync(
      join(this.#directory, 'tsconfig.json'),
      JSON.stringify({
        compilerOptions: {
          module: 'nodenext',
          target: 'ES2023',
          strict: true,
          strictPropertyInitialization: false,
          experimentalDecorators: true,
          emitDecoratorMetadata: true,
          skipLibCheck: true,
          types: ['node'],
          typeRoots: [join(ROOT, 'node_modules/@types')],
        },
        files: APPS.map((app) => `${app}/app.ts`),
      }),
    );
    await run(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc')], this.#directory);
  }

  npm(app: AppName, args: readonly string[]): Promise<string> {
    return run('npm', [...args, '--no-audit', '--no-fund'], this.directoryOf(app)).then(
      ({ stdout }) => stdout,
    );
  }

  /** Looks for versions that fit together, without a lock file. @throws {Error} with npm's words if there are none. */
  async resolve(dependencies: Readonly<Record<string, string>>): Promise<void> {
    const directory = mkdtempSync(join(this.#directory, 'resolved-'));
    writeFileSync(join(directory, 'package.json'), JSON.stringify({ private: true, dependencies }));
    // Under `npm run --silent` it would say nothing at all.
    const args = ['install', '--package-lock-only', '--prefer-offline', '--loglevel=error'];
    await run('npm', args, directory);
  }

  /** @returns what the script prints. */
  async node(app: AppName, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
    const { stdout } = await run(process.execPath, args, this.directoryOf(app), env);
    return stdout;
  }

  remove(): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** @throws {Error} with everything that the program printed. */
async function run(
  command: string,
  args: readonly string[],
  cwd: string,
  env: NodeJS.ProcessEnv = {},
): Promise<{ stdout: string }> {
  try {
    return await promisify(execFile)(command, args, { cwd, env: { ...process.env, ...env } });
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    throw new Error(`"${command} ${args.join(' ')}" failed:\n${stdout}${stderr}`, { cause: error });
  }
}
