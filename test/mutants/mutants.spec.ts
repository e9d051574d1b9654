import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { MUTANTS } from './mutants.mjs';

const inProject = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

/** A mutant that does not fit its source any more breaks nothing, and so proves nothing. */
describe('a mutant', () => {
  it.each(MUTANTS)('fits its source: $what', ({ file, find, replace, spec }) => {
    const source = readFileSync(inProject(`src/distributed-lock/${file}`), 'utf8');
    expect(source.split(find).length - 1, `how often ${file} has: ${find}`).toBe(1);
    expect(replace).not.toBe(find);
    expect(existsSync(inProject(spec)), spec).toBe(true);
  });

  it('has a name of its own', () => {
    const names = MUTANTS.map(({ what }) => what);
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
  });
});
