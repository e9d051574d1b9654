/** Plots as SVG text, readable on a light and on a dark page. */

const COLOURS = { limit: '#8a8f98', ours: '#2f6fde', peer: '#c98a2b' };
const [WIDTH, LEFT, RIGHT, TOP, ROW] = [760, 190, 110, 48, 22];

const escape = (text) =>
  String(text).replace(
    /[&<>"]/g,
    (it) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[it],
  );

function page(height, title, body) {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="system-ui, sans-serif" font-size="12" role="img" aria-label="${escape(title)}">`,
    `<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>`,
    text(16, 24, title, 'font-weight="600" font-size="14"'),
    ...body,
    '</svg>\n',
  ].join('\n');
}

function text(x, y, content, more = '') {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" fill="#1f2328" ${more}>${escape(content)}</text>`;
}

/** A logarithmic scale from values to pixels, with a line per power of ten. */
function logScale(values, from, to) {
  const low = Math.floor(Math.log10(Math.min(...values)));
  const high = Math.max(Math.ceil(Math.log10(Math.max(...values))), low + 1);
  const at = (value) => from + ((Math.log10(value) - low) / (high - low)) * (to - from);
  const marks = Array.from({ length: high - low + 1 }, (_, n) => 10 ** (low + n));
  return { at, marks };
}

const short = (value) =>
  value >= 1_000
    ? `${Number((value / 1_000).toPrecision(3))}k`
    : String(Number(value.toPrecision(3)));

/**
 * A bar per contender on a logarithmic scale; the thin line is the range over the rounds.
 *
 * @param rows `{ name, kind, value: [median, lowest, highest] }`, in the order of the plot. Values of 0 have no bar.
 */
export function bars(title, rows) {
  // The lowest round is cut off at the edge: one disturbed turn must not squeeze the rest.
  const positive = rows
    .flatMap(({ value: [median, , high] }) => [median, high])
    .filter((it) => it > 0);
  const scale = logScale(positive.length > 0 ? positive : [1], LEFT, WIDTH - RIGHT);
  const bottom = TOP + rows.length * ROW;
  const grid = scale.marks.flatMap((mark) => {
    const x = scale.at(mark).toFixed(1);
    return [
      `<line x1="${x}" y1="${TOP - 6}" x2="${x}" y2="${bottom}" stroke="#d8dce2"/>`,
      text(scale.at(mark), bottom + 16, short(mark), 'text-anchor="middle"'),
    ];
  });
  const drawn = rows.flatMap(({ name, kind, value: [median, low, high] }, row) => {
    const y = TOP + row * ROW;
    const label = text(LEFT - 8, y + 13, name, 'text-anchor="end"');
    if (!(median > 0)) return [label, text(LEFT + 6, y + 13, short(median))];
    const from = scale.at(Math.max(low, scale.marks[0]));
    const width = Math.max(scale.at(median) - LEFT, 1).toFixed(1);
    return [
      label,
      `<rect x="${LEFT}" y="${y + 3}" width="${width}" height="14" fill="${COLOURS[kind]}"/>`,
      `<line x1="${from.toFixed(1)}" y1="${y + 10}" x2="${scale.at(high).toFixed(1)}" y2="${y + 10}" stroke="#1f2328"/>`,
      text(Math.max(scale.at(median), scale.at(high)) + 6, y + 14, short(median)),
    ];
  });
  return page(bottom + 30, title, [...grid, ...drawn]);
}

/**
 * A line per contender, both axes logarithmic.
 *
 * @param series `{ name, kind, points: [[x, y], …] }`.
 */
export function lines(title, series) {
  const height = 360;
  const points = series.flatMap((it) => it.points);
  const across = logScale(
    points.map(([x]) => x),
    70,
    WIDTH - 190,
  );
  const up = logScale(
    points.map(([, y]) => y),
    height - 40,
    TOP,
  );
  const grid = [
    ...up.marks.map((mark) => {
      const y = up.at(mark).toFixed(1);
      return `<line x1="70" y1="${y}" x2="${WIDTH - 190}" y2="${y}" stroke="#d8dce2"/>${text(62, up.at(mark) + 4, short(mark), 'text-anchor="end"')}`;
    }),
    ...[...new Set(points.map(([x]) => x))].map((x) =>
      text(across.at(x), height - 20, short(x), 'text-anchor="middle"'),
    ),
  ];
  const labels = spread(
    series.map(({ points: all }) => up.at(all.at(-1)[1])),
    14,
  );
  const drawn = series.flatMap(({ name, kind, points: all }, n) => {
    const path = all.map(([x, y]) => `${across.at(x).toFixed(1)},${up.at(y).toFixed(1)}`).join(' ');
    const [lastX] = all.at(-1);
    return [
      `<polyline points="${path}" fill="none" stroke="${COLOURS[kind]}" stroke-width="2"/>`,
      text(across.at(lastX) + 8, labels[n] + 4, name),
    ];
  });
  return page(height, title, [...grid, ...drawn]);
}

/** Moves positions apart until labels of this height do not overlap. */
function spread(positions, height) {
  const order = positions.map((at, index) => ({ at, index })).sort((a, b) => a.at - b.at);
  const moved = [];
  let last = -Infinity;
  for (const { at, index } of order) {
    last = Math.max(at, last + height);
    moved[index] = last;
  }
  return moved;
}
