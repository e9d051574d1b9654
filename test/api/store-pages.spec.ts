import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { STORE_NAMES } from '../../src/example/app.config.js';

const folder = fileURLToPath(new URL('../../docs/stores/', import.meta.url));
const read = (page: string) => readFileSync(folder + page, 'utf8');

it('every store has a page, and every page is in the README', () => {
  const pages = readdirSync(folder);
  expect(pages).toEqual(STORE_NAMES.map((name) => `${name}.md`).toSorted());
  const readme = readFileSync(`${folder}../../README.md`, 'utf8');
  for (const page of pages) expect(readme).toContain(`(docs/stores/${page})`);
});

it.each(readdirSync(folder))('docs/stores/%s has the same headings as the others', (page) => {
  const headings = [...read(page).matchAll(/^## (.+)$/gm)].map((match) => match[1]);
  expect(headings).toEqual([
    'How it waits',
    'What frees it',
    'Traits',
    'Options',
    'Keys',
    'Permissions',
    'Measured',
    'Known limits',
  ]);
});
