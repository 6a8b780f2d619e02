// What a block alone loses, as colours: of one effect, and of a whole bar from nothing dropped to the last ratio known. Points of top-1
// where they were measured, else the damage that a sketch predicts, on a scale of its own: a colour for each power of ten.
//
// Uses counts.js, for the effect between known ratios.

import { damageAt, shownAt } from "./counts.js";

// Blue to vermilion passes through no pair that colour-blind readers confuse, in both themes.
const SHADES = [[45, 127, 190], [126, 175, 205], [229, 190, 110], [224, 123, 40], [176, 58, 16]];
export const POINTS = [0, 1, 3, 10, 30]; // of top-1 lost, at each shade
export const DAMAGES = [1e-4, 1e-3, 1e-2, 1e-1, 1];
export const NEUTRAL = "rgb(138, 143, 152)"; // not known

// The colour of a place on the scale: 0 at its first shade, 1 at the second, and so on.
function shade(place) {
  const left = Math.min(SHADES.length - 2, Math.max(0, Math.floor(place))), share = Math.min(1, Math.max(0, place - left));
  return rgb(SHADES[left].map((part, i) => part + share * (SHADES[left + 1][i] - part)));
}

function placeOfPoints(lost) {
  const right = POINTS.findIndex((points) => points >= lost);
  if (right < 0) return POINTS.length - 1;
  return right === 0 ? 0 : right - 1 + (lost - POINTS[right - 1]) / (POINTS[right] - POINTS[right - 1]);
}

const placeOfDamage = (damage) => (damage > 0 ? Math.log10(damage / DAMAGES[0]) : 0);
const rgb = (parts) => `rgb(${parts.map(Math.round).join(", ")})`;
const colour = (desk, figure) => shade(desk.data.sketch ? placeOfDamage(figure) : placeOfPoints(Math.max(0, -figure)));

export const STRIP = `linear-gradient(to right, ${SHADES.map(rgb).join(", ")})`;
export const hasColours = ({ data }) => Boolean(data.curves || data.sketch);
export const effectColour = (desk, effect) => (!hasColours(desk) || effect === null ? NEUTRAL : colour(desk, effect.figures[0]));

const known = (desk, site, block) => (desk.data.sketch?.lines ?? desk.data.curves)?.[site]?.[block] ?? [];

export function heat(desk, site, block) {
  const points = known(desk, site, block);
  if (!points.length) return null;
  const last = points[points.length - 1][0], parts = [];
  for (let ratio = 0; ratio < last; ratio += 0.05) parts.push(`${effectColour(desk, shownAt(desk, site, block, ratio))} ${100 * ratio}%`);
  parts.push(`${colour(desk, points[points.length - 1][1])} ${100 * last}%`, `${NEUTRAL} ${100 * last}%`);
  return `linear-gradient(to top, ${parts.join(", ")})`;
}

// A mask that leaves of a bar what cannot be told from zero; null where all can.
export function untold(desk, site, block) {
  const ends = desk.data.sketch ? [0, ...known(desk, site, block).map((point) => point[0])] : [];
  const parts = [];
  let any = false;
  for (let i = 1; i < ends.length; i++) {
    const isTold = damageAt(desk, site, block, (ends[i - 1] + ends[i]) / 2).isTold, paint = isTold ? "transparent" : "black";
    parts.push(`${paint} ${100 * ends[i - 1]}%`, `${paint} ${100 * ends[i]}%`);
    any ||= !isTold;
  }
  return any ? `linear-gradient(to top, ${parts.join(", ")}, transparent ${100 * ends[ends.length - 1]}%)` : null;
}
