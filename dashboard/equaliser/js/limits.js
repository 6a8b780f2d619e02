// What a bar can be set to: the sites, the legal stops of a bar, the range or lock that a hand has put on it, and the stop nearest to a
// wish. Legal stops come from Python (toast_core.schedule.stops); nothing here rounds.
//
// Uses no other section.

export const SITES = ["qk", "vo", "fc1", "fc2"];
export const PAIRS = [["qk", "vo"], ["fc1", "fc2"]];

const FREE = { low: 0, high: 1, locked: false };

export const kindOf = (desk, block) => desk.data.kinds[desk.data.of[block]];
export const widthOf = (desk, site, block) => kindOf(desk, block).widths[site];

// The stops of a bar as [ratio dropped, channels kept], from nothing dropped upwards.
export const stopsOf = (desk, site, block) => desk.data.stops[widthOf(desk, site, block)];
export const stopIndex = (desk, site, block, kept) => stopsOf(desk, site, block).findIndex((stop) => stop[1] === kept);

// A schedule of the page's data, { ratios, kept }, as the bars that are drawn and counted: a list of { ratio, kept } for each site.
export const barsOf = ({ ratios, kept }) => Object.fromEntries(
  SITES.map((site) => [site, ratios[site].map((ratio, block) => ({ ratio, kept: kept[site][block] }))]),
);

const keyOf = (site, block) => `${site} ${block}`;

// The range and lock of a bar: { low, high, locked }, in ratios dropped.
export const limitOf = (desk, site, block) => desk.limits.get(keyOf(site, block)) ?? FREE;
export const isLimited = (desk, site, block) => desk.limits.has(keyOf(site, block));

// A range whose ends would cross gives up the end that was not asked for.
export function changeLimit(desk, site, block, change) {
  const limit = { ...limitOf(desk, site, block), ...change };
  if (limit.low > limit.high) {
    if ("low" in change) limit.high = 1;
    else limit.low = 0;
  }
  if (limit.low === 0 && limit.high === 1 && !limit.locked) desk.limits.delete(keyOf(site, block));
  else desk.limits.set(keyOf(site, block), limit);
}

// Limits travel as rows of [site, block, low, high, locked].
export const limitsOfRows = (rows) => new Map(rows.map(([site, block, low, high, locked]) => [keyOf(site, block), { low, high, locked }]));

export const rowsOfLimits = (limits) => [...limits].map(([key, { low, high, locked }]) => {
  const [site, block] = key.split(" ");
  return [site, Number(block), low, high, locked];
});

// The stop within the bar's range that is nearest to a ratio; null where the range holds none.
export function nearest(desk, site, block, ratio) {
  const { low, high } = limitOf(desk, site, block);
  let best = null;
  for (const stop of stopsOf(desk, site, block)) {
    if (stop[0] < low || stop[0] > high) continue;
    if (best === null || Math.abs(stop[0] - ratio) < Math.abs(best[0] - ratio)) best = stop;
  }
  return best;
}
