import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const page = readFileSync(`${root}docs/guarantees.md`, 'utf8');
const named = [...page.matchAll(/`((?:test|src)\/[^`]+\.m?[jt]s)`(?: "([^"]+)")?/g)].map(
  (match) => ({
    file: match[1]!,
    title: match[2],
  }),
);

it('docs/guarantees.md names tests', () => {
  expect(named.length).toBeGreaterThan(20);
});

it.each(named)('$file has "$title"', ({ file, title }) => {
  expect(readFileSync(root + file, 'utf8')).toContain(title ?? '');
});
