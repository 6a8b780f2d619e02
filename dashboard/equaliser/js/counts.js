// What a schedule costs, counted while a bar moves, MACs and parameters and milliseconds, and what a bar does by itself. What is counted
// has its twin in Python, and the tests hold both to the same figures over random schedules: `toast_core.cost.macs.count_cost`,
// `LatencyTable.predict_ms`.
//
// Uses limits.js, for sites, widths and stops. A schedule here is `now`, its bars as `barsOf` makes them. No element is touched.

import { SITES, kindOf, stopIndex, stopsOf, widthOf } from "./limits.js";

// The ratio at which a bar's effect is read: that of the count it keeps, which under a multiple is not the ratio that was written.
export function effectiveRatio(desk, site, block, { ratio, kept }) {
  return desk.data.multiple_of === 1 ? ratio : stopsOf(desk, site, block)[stopIndex(desk, site, block, kept)][0];
}

// The difference at a ratio as [delta, low, high], and whether it was measured there; null beyond the last measured ratio.
export function effectAt(desk, site, block, ratio) {
  if (ratio === 0) return { figures: [0, 0, 0], measured: true };
  const line = [[0, 0, 0, 0], ...(desk.data.curves?.[site]?.[block] ?? [])];
  const right = line.findIndex((point) => point[0] >= ratio);
  if (right < 0) return null;
  const [a, b] = [line[right - 1], line[right]];
  const share = (ratio - a[0]) / (b[0] - a[0]);
  return { figures: [1, 2, 3].map((i) => a[i] + share * (b[i] - a[i])), measured: b[0] === ratio, between: [a[0], b[0]] };
}

// The sketched damage at a ratio as [damage, low, high], the ratios between which it was sketched, and whether it can be told from zero;
// `high` is null where the interval has no end. null beyond the last sketched ratio.
export function damageAt(desk, site, block, ratio) {
  if (ratio === 0) return { figures: [0, 0, 0], measured: true, isTold: true };
  const line = [[0, 0, 0, 0, true], ...(desk.data.sketch.lines[site][block] ?? [])], right = line.findIndex((point) => point[0] >= ratio);
  if (right < 0) return null;
  const [a, b] = [line[right - 1], line[right]], share = (ratio - a[0]) / (b[0] - a[0]), measured = b[0] === ratio;
  const figures = [1, 2, 3].map((i) => (a[i] === null || b[i] === null ? null : a[i] + share * (b[i] - a[i])));
  return { figures, measured, between: [a[0], b[0]], isTold: b[4] && (measured || a[4]) };
}

// What a bar is coloured by: the sketched damage where a sketch is shown, else the measured difference.
export const shownAt = (desk, site, block, ratio) => (desk.data.sketch ? damageAt : effectAt)(desk, site, block, ratio);

// As `count_cost`: MACs and parameters of the whole model, from the tables of what each kept count saves.
export function costOf(desk, now) {
  const { data } = desk;
  let { macs, params } = data.baseline;
  data.of.forEach((_, block) => {
    const kind = kindOf(desk, block);
    for (const site of ["qk", "vo"]) {
      const [savedMacs, savedParams] = kind[site][stopIndex(desk, site, block, now[site][block].kept)];
      macs -= savedMacs;
      params -= savedParams;
    }
    const fc1 = now.fc1[block], fc2 = now.fc2[block];
    const [start, slope, paramStart, paramSlope] = kind.fc1[stopIndex(desk, "fc1", block, fc1.kept)];
    const dropped = kind.widths.fc2 - fc2.kept;
    macs -= kind.share ? 2 * kind.share - roundHalfEven(kind.share * ((1 - fc1.ratio) + (1 - fc2.ratio))) : start + slope * dropped;
    params -= paramStart + paramSlope * dropped;
  });
  return { macs, params };
}

function roundHalfEven(value) {
  const down = Math.floor(value);
  if (value - down !== 0.5) return Math.round(value);
  return down % 2 === 0 ? down : down + 1;
}

// As `LatencyTable.predict_ms`: of a line between the two measured counts around, counts that vector units take whole and others apart.
export function millisecondsOf(desk, now) {
  const { latency } = desk.data;
  let parts = 0;
  latency.kinds.forEach((kind, block) => {
    const times = latency.blocks[kind], at = (site) => now[site][block].kept, [qk, vo, fc1, fc2] = SITES.map(at);
    parts += qk === vo ? onLine(times.equal, qk, latency.aligned) : onSheet(times.unequal, qk, vo);
    parts += fc1 === widthOf(desk, "fc1", block) ? onLine(times.whole, fc2, latency.aligned) : onSheet(times.narrow, fc1, fc2);
  });
  return latency.scale * (latency.outside_ms + parts);
}

function onLine({ kept, ms }, count, aligned) {
  const place = kept.indexOf(count);
  if (place >= 0) return ms[place];
  const alike = kept.map((_, i) => i).filter((i) => (kept[i] % aligned === 0) === (count % aligned === 0));
  return alike.length > 1 ? between(alike.map((i) => kept[i]), alike.map((i) => ms[i]), count) : between(kept, ms, count);
}

const onSheet = ({ first, second, ms }, one, other) => between(first, ms.map((row) => between(second, row, other)), one);

function between(counts, values, wanted) {
  const right = counts.findIndex((count) => count >= wanted);
  if (right === 0) return values[0];
  if (right < 0) return values[values.length - 1];
  return values[right - 1] + ((wanted - counts[right - 1]) / (counts[right] - counts[right - 1])) * (values[right] - values[right - 1]);
}
