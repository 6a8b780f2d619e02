// Puts the state on the page: bars, links, totals and the inspector, as `desk` has them now. The schedule in hand is read, never changed.
//
// Uses limits.js for stops and ranges, counts.js for what a bar does, totals.js for the figures, words.js and colours.js for how they read.

import { DAMAGES, NEUTRAL, POINTS, effectColour, hasColours, heat, untold } from "./colours.js";
import { effectiveRatio, shownAt } from "./counts.js";
import { SITES, isLimited, limitOf, stopsOf } from "./limits.js";
import { paintTotals } from "./totals.js";
import { effectWords, percent, stopWords } from "./words.js";

const LOCK_ICON = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M4.5 7V5a3.5 3.5 0 0 1 7 0v2M3.5 7h9v6.5h-9z"/></svg>';

export function paintAll(desk) {
  const { sketch } = desk.data, curves = JSON.stringify([sketch?.lines ?? desk.data.curves]);
  for (const site of SITES) {
    desk.bars[site].forEach((bar, block) => {
      if (curves !== desk.heated) paintHeat(desk, site, block);
      paintBar(desk, site, block);
    });
  }
  desk.heated = curves;
  paintLegend(desk);
  paintLinks(desk);
  paintTotals(desk);
  paintInspector(desk);
}

function paintLegend(desk) {
  const { sketch } = desk.data, { legend, title, ticks, note, hatched } = desk.parts.legend;
  legend.hidden = !hasColours(desk);
  const what = sketch ? `${sketch.label} of a block alone, predicted${sketch.unit && `, in ${sketch.unit}`}` : "Points of top-1 lost by a block alone";
  title.textContent = what;
  (sketch ? DAMAGES : POINTS).forEach((tick, i) => { ticks[i].textContent = tick; });
  legend.classList.toggle("sketched", Boolean(sketch));
  note.textContent = sketch?.note ?? desk.data.curves_note;
  hatched.hidden = !sketch;
}

function paintHeat(desk, site, block) {
  const bar = desk.bars[site][block], background = heat(desk, site, block);
  bar.heat.style.background = bar.fill.style.background = background ?? NEUTRAL;
  bar.track.classList.toggle("unmeasured", background === null);
  const mask = untold(desk, site, block);
  bar.untold.hidden = mask === null;
  bar.untold.style.maskImage = bar.untold.style.webkitMaskImage = mask ?? "";
}

export function paintBar(desk, site, block) {
  const bar = desk.bars[site][block], now = desk.now[site][block], limit = limitOf(desk, site, block), { track } = bar;
  const stops = stopsOf(desk, site, block), effect = shownAt(desk, site, block, effectiveRatio(desk, site, block, now));
  const last = stops[stops.length - 1][0];
  bar.fill.style.clipPath = `inset(${100 - 100 * now.ratio}% 0 0 0)`;
  bar.thumb.style.bottom = `${100 * now.ratio}%`;
  bar.below.style.height = `${100 * limit.low}%`;
  bar.above.style.height = `${100 - 100 * Math.min(1, limit.high)}%`;
  const ghost = desk.data.ghost?.ratios[site][block];
  bar.ghost.hidden = ghost === undefined;
  if (ghost !== undefined) bar.ghost.style.bottom = `${100 * ghost}%`;
  bar.cell.classList.toggle("whole", now.ratio === 0);
  track.classList.toggle("locked", limit.locked);
  bar.label.innerHTML = limit.locked ? LOCK_ICON : "";
  bar.label.append(String(Math.round(100 * now.ratio)));
  const range = limit.low > 0 || limit.high < 1 ? `, range ${percent(limit.low)} to ${percent(Math.min(limit.high, last))}` : "";
  track.tabIndex = desk.tabStops[site] === block ? 0 : -1;
  track.setAttribute("aria-valuemin", Number((100 * limit.low).toFixed(2)));
  track.setAttribute("aria-valuemax", Number((100 * Math.min(limit.high, last)).toFixed(2)));
  track.setAttribute("aria-valuenow", Number((100 * now.ratio).toFixed(2)));
  track.setAttribute("aria-readonly", limit.locked);
  const words = `${stopWords(desk, site, block, now)}, ${effectWords(desk, effect)[0]}${range}${limit.locked ? ", locked" : ""}`;
  track.setAttribute("aria-valuetext", `block ${block}, ${site}, ${words}`);
}

export function paintLinks(desk) {
  for (const [name, button] of Object.entries(desk.parts.links)) button.setAttribute("aria-pressed", desk.linked.has(name));
}

export function paintInspector(desk) {
  const { swatch, place, stop, effect, band, buttons } = desk.parts.inspector;
  const [site, block] = desk.hovered ?? desk.selected;
  const bar = desk.hovered ? { ratio: desk.hovered[2][0], kept: desk.hovered[2][1] } : desk.now[site][block];
  const found = shownAt(desk, site, block, effectiveRatio(desk, site, block, bar)), [words, more] = effectWords(desk, found);
  swatch.style.background = effectColour(desk, found);
  place.textContent = `Block ${block}, ${site}`;
  stop.textContent = stopWords(desk, site, block, bar);
  effect.textContent = words;
  band.textContent = more;
  const [name, index] = desk.selected, limit = limitOf(desk, name, index), at = percent(desk.now[name][index].ratio);
  buttons.lock.textContent = `${limit.locked ? "Unlock" : "Lock"} ${index} ${name}`;
  buttons.low.textContent = `At least ${at}`;
  buttons.high.textContent = `At most ${at}`;
  buttons.free.textContent = "No limits";
  buttons.free.disabled = !isLimited(desk, name, index);
}

export function paintHover(desk, site, block, ratio) {
  const { reach } = desk.bars[site][block];
  reach.hidden = ratio === null;
  if (ratio !== null) reach.style.bottom = `${100 * ratio}%`;
}
