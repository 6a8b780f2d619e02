// Changes the state, and has it painted and sent: a bar set or moved by a step, its partner that follows, locks, ranges, links.
//
// Uses limits.js for what is allowed, paint.js and totals.js for what is seen of it, live.js for what is foreseen, messages.js for what is
// sent of it.

import { PAIRS, changeLimit, limitOf, nearest, stopIndex, stopsOf } from "./limits.js";
import { foresee } from "./live.js";
import { sendLimits, sendLinks, sendWhenSettled } from "./messages.js";
import { paintBar, paintInspector, paintLinks } from "./paint.js";
import { paintTotals } from "./totals.js";

// A locked bar refuses; a linked partner takes the stop nearest to the same ratio, unless it is locked. Whether the bar was set.
export function setBar(desk, site, block, stop) {
  if (limitOf(desk, site, block).locked) return refuse(desk, site, block);
  if (stop === null) return false;
  desk.now[site][block] = { ratio: stop[0], kept: stop[1] };
  desk.counted = null;
  paintBar(desk, site, block);
  const pair = PAIRS.find((names) => names.includes(site));
  const other = pair.find((name) => name !== site);
  if (desk.linked.has(pair.join("+")) && !limitOf(desk, other, block).locked) {
    const followed = nearest(desk, other, block, stop[0]);
    if (followed !== null) desk.now[other][block] = { ratio: followed[0], kept: followed[1] };
    paintBar(desk, other, block);
  }
  paintTotals(desk);
  foresee(desk);
  paintInspector(desk);
  return true;
}

// Moves a bar by points of ratio, or by a `single` stop; a move too small to leave its stop takes the next one.
export function moveBar(desk, site, block, points, single) {
  const stops = stopsOf(desk, site, block);
  const here = stopIndex(desk, site, block, desk.now[site][block].kept);
  const up = Math.sign(points);
  let stop = single ? stops[here + up] : nearest(desk, site, block, desk.now[site][block].ratio + points / 100);
  if (stop && stop[1] === stops[here][1]) stop = stops[here + up];
  const { low, high } = limitOf(desk, site, block);
  if (stop && (stop[0] < low || stop[0] > high)) stop = null;
  if (setBar(desk, site, block, stop ?? null)) sendWhenSettled(desk);
}

// Shows and says that a bar is locked.
export function refuse(desk, site, block) {
  const { track } = desk.bars[site][block];
  track.classList.remove("refused");
  void track.offsetWidth; // starts the animation anew
  track.classList.add("refused");
  desk.parts.live.textContent = `Block ${block}, ${site} is locked. Press L to unlock it.`;
  return false;
}

export function setLimit(desk, site, block, change) {
  changeLimit(desk, site, block, change);
  paintBar(desk, site, block);
  paintInspector(desk);
  sendLimits(desk);
}

export const toggleLock = (desk, site, block) => setLimit(desk, site, block, { locked: !limitOf(desk, site, block).locked });

export function toggleLink(desk, name) {
  if (!desk.linked.delete(name)) desk.linked.add(name);
  paintLinks(desk);
  sendLinks(desk);
}
