import { readFileSync } from 'node:fs';
import { cpus, release } from 'node:os';

/** Where it ran and what took part. */
export async function machine() {
  const cores = cpus();
  return {
    machine: `${cores.length} × ${cores[0]?.model.trim()}, ${process.platform} ${release()}, Node ${process.version}`,
    versions: { 'nestjs-distributed-lock': versionIn('../../package.json'), ...pinned() },
  };
}

function pinned() {
  const { dependencies } = read('../package.json');
  return Object.fromEntries(
    Object.entries(dependencies).map(([name, version]) => [name, version.replace(/^.*@/, '')]),
  );
}

const read = (path) => JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'));
const versionIn = (path) => read(path).version;
