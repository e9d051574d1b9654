import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { freePort, startKeeper } from './throwaway.js';

const run = promisify(execFile);
const COMPOSE_FILE = fileURLToPath(new URL('../../docker-compose.yml', import.meta.url));

/** A service of `docker-compose.yml`: the variable that sets its port on this machine, and its URL there. */
export interface ComposeService {
  readonly name: string;
  readonly portVariable: string;
  url(port: number): string;
}

/** Whether a Docker *engine* answers; the client alone is of no use. */
export async function hasDockerEngine(): Promise<boolean> {
  try {
    await run('docker', ['info', '--format', '{{.ServerVersion}}'], { timeout: 5_000 });
    await run('docker', ['compose', 'version'], { timeout: 5_000 });
    return true;
  } catch {
    return false;
  }
}

/**
 * Starts a container in a Compose project of this run's own, on a free port, so that one that is already up is neither
 * used nor stopped. It is removed with its volumes when this process ends.
 */
export async function startContainer(
  service: ComposeService,
): Promise<{ url: string; stop(): Promise<void> }> {
  const port = await freePort();
  const project = `distributed-lock-${service.name}-${process.pid}`;
  const compose = ['compose', '-f', COMPOSE_FILE, '-p', project];
  const keeper = startKeeper({
    cleanUp: ['docker', ...compose, 'down', '--volumes', '--timeout', '2'],
  });
  await keeper.pid;
  try {
    await run('docker', [...compose, 'up', '--wait', '--detach', service.name], {
      env: { ...process.env, [service.portVariable]: String(port) },
    });
  } catch (error) {
    await keeper.stop();
    throw error;
  }
  return { url: service.url(port), stop: () => keeper.stop() };
}
