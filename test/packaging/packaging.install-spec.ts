import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDatabase, getServices } from '../support/services.js';
import { rejection } from '../transaction/spec-hold.js';
import { APPS, doors, PackedPackage } from './packed.js';

const say = (line: string) => process.stderr.write(`${line}\n`);
const services = await getServices(['redis', 'postgres'], say);
for (const { name, reason } of services.missing) say(`not tested: packaging, ${name} (${reason})`);

const NEST = { esm: 12, cjs: 11 } as const;
const versionOf = (directory: string, name: string) =>
  (
    JSON.parse(readFileSync(join(directory, 'node_modules', name, 'package.json'), 'utf8')) as {
      version: string;
    }
  ).version;

describe.skipIf(services.missing.length > 0)('the packed package', () => {
  let packed: PackedPackage;

  beforeAll(async () => {
    packed = await PackedPackage.pack();
    await Promise.all(APPS.map((app) => packed.install(app)));
    await packed.compile();
  });
  afterAll(async () => {
    packed?.remove();
    await services.stop();
  });

  describe.each(APPS)('in an application of type %s', (app) => {
    it(`is beside Nest ${NEST[app]}, TypeORM 1, ioredis 5 and nestjs-cls 6, and no peer is missing or wrong`, async () => {
      const directory = packed.directoryOf(app);
      expect(versionOf(directory, '@nestjs/core')).toMatch(new RegExp(`^${NEST[app]}\\.`));
      expect(versionOf(directory, 'typeorm')).toMatch(/^1\./);
      expect(versionOf(directory, 'ioredis')).toMatch(/^5\./);
      expect(versionOf(directory, 'nestjs-cls')).toBe('6.3.1');
      await packed.npm(app, ['ls', '--all']); // fails on a peer that does not fit
    });

    it('locks: nothing is lost in the transactions of either mode', async () => {
      const database = await createDatabase(services.available.get('postgres')!.url, 'packaging');
      try {
        const printed = await packed.node(app, ['app.js'], {
          DATABASE_URL: database.url,
          REDIS_URL: services.available.get('redis')!.url,
          NAMESPACE: new URL(database.url).pathname.slice(1),
        });
        const counted = { value: 20, events: { attempted: 20, acquired: 20, released: 20 } };
        expect(JSON.parse(printed)).toMatchObject({ native: counted, cls: counted });
      } finally {
        await database.drop();
      }
    });
  });

  it('every door can be required from CommonJS, and is the same as imported', async () => {
    const script = `
      const all = ${JSON.stringify(doors())};
      Promise.all(all.map(async (door) => {
        const [required, imported] = [require(door), await import(door)];
        const names = Object.keys(imported).filter((name) => name !== 'module.exports');
        if (names.length === 0) throw new Error(door + ' exports nothing');
        for (const name of names)
          if (required[name] !== imported[name]) throw new Error(door + ': two copies of ' + name);
      })).then(() => console.log('same'));`;
    expect(await packed.node('cjs', ['-e', script])).toBe('same\n');
  });

  it('every door can be imported from an ES module', async () => {
    const script = doors().map((door) => `await import('${door}');`);
    await packed.node('esm', ['--input-type=module', '-e', script.join('\n')]);
  });

  it('control: a path that is no door is not found', async () => {
    const inside = `require('nestjs-distributed-lock/dist/distributed-lock/index.js')`;
    expect(await rejection(packed.node('cjs', ['-e', inside]))).toMatchObject({
      message: expect.stringContaining('ERR_PACKAGE_PATH_NOT_EXPORTED'),
    });
  });

  it('control: npm refuses what does not fit together, such as TypeORM and ioredis 6', async () => {
    const typeorm = versionOf(packed.directoryOf('esm'), 'typeorm');
    expect(await rejection(packed.resolve({ typeorm, ioredis: '^6.0.0' }))).toMatchObject({
      message: expect.stringContaining('ERESOLVE'),
    });
  });
});
