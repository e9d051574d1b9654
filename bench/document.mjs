/** Writes `docs/performance/` and the generated parts of `docs/performance.md` from `docs/performance/results.json`. Needs nothing but that file. */
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { format } from 'prettier';
import { sections } from './document/sections.mjs';
import { plots } from './document/plots.mjs';

const DOCS = fileURLToPath(new URL('../docs/', import.meta.url));
const RESULTS = `${DOCS}performance/results.json`;
const PAGE = `${DOCS}performance.md`;

/** Makes a run the one that the documentation shows. */
export async function publish(report) {
  mkdirSync(`${DOCS}performance`, { recursive: true });
  await write(RESULTS, JSON.stringify(condensed(report)), 'json');
  await document();
}

/** Draws everything anew. */
export async function document() {
  const report = JSON.parse(readFileSync(RESULTS, 'utf8'));
  const drawn = plots(report.workloads);
  for (const file of readdirSync(`${DOCS}performance`)) {
    if (file.endsWith('.svg')) rmSync(`${DOCS}performance/${file}`);
  }
  for (const [file, , svg] of drawn) writeFileSync(`${DOCS}performance/${file}.svg`, svg);
  let page = readFileSync(PAGE, 'utf8');
  for (const [name, content] of Object.entries(sections(report, drawn))) {
    page = replaced(page, name, content);
  }
  await write(PAGE, page, 'markdown');
}

/** What stands between `<!-- bench:name -->` and `<!-- /bench:name -->`. */
function replaced(page, name, content) {
  const [start, end] = [`<!-- bench:${name} -->`, `<!-- /bench:${name} -->`];
  const [from, to] = [page.indexOf(start), page.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`docs/performance.md has no place for "${name}".`);
  return `${page.slice(0, from + start.length)}\n\n${content}\n\n${page.slice(to)}`;
}

/** Long lists of single values are for the machine that measured them. */
function condensed(value) {
  if (Array.isArray(value)) {
    if (value.length <= 3 || typeof value[0] !== 'number') return value.map(condensed);
    const sorted = value.toSorted((a, b) => a - b);
    const at = (share) => sorted[Math.floor((sorted.length - 1) * share)];
    return { p50: at(0.5), p99: at(0.99), count: sorted.length };
  }
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, it]) => [name, condensed(it)]));
}

async function write(path, text, parser) {
  const options = JSON.parse(readFileSync(new URL('../.prettierrc', import.meta.url), 'utf8'));
  writeFileSync(path, await format(text, { ...options, parser }));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await document();
