// Points of top-1 lost, as colours: of one effect, and of a whole bar from nothing dropped to the last ratio measured.
//
// Uses counts.js, for the effect between measured ratios.

import { effectAt } from "./counts.js";

// Points lost, and their colour: blue to vermilion passes through no pair that colour-blind readers confuse, in both themes.
export const SCALE = [[0, [45, 127, 190]], [1, [126, 175, 205]], [3, [229, 190, 110]], [10, [224, 123, 40]], [30, [176, 58, 16]]];
export const NEUTRAL = "rgb(138, 143, 152)"; // not measured

function colour(delta) {
  const loss = Math.max(0, -delta);
  const right = SCALE.findIndex(([points]) => points >= loss);
  if (right === 0) return rgb(SCALE[0][1]);
  if (right < 0) return rgb(SCALE[SCALE.length - 1][1]);
  const [[a, from], [b, to]] = [SCALE[right - 1], SCALE[right]];
  return rgb(from.map((part, i) => part + ((loss - a) / (b - a)) * (to[i] - part)));
}

export const rgb = (parts) => `rgb(${parts.map(Math.round).join(", ")})`;

export const effectColour = (desk, effect) => (!desk.data.curves || effect === null ? NEUTRAL : colour(effect.figures[0]));

export function heat(desk, site, block) {
  const points = desk.data.curves?.[site]?.[block] ?? [];
  if (!points.length) return null;
  const last = points[points.length - 1][0], parts = [];
  for (let ratio = 0; ratio < last; ratio += 0.05) parts.push(`${colour(effectAt(desk, site, block, ratio).figures[0])} ${100 * ratio}%`);
  parts.push(`${colour(points[points.length - 1][1])} ${100 * last}%`, `${NEUTRAL} ${100 * last}%`);
  return `linear-gradient(to top, ${parts.join(", ")})`;
}
