// Figures as words, written as dashboard/wording.py writes them: signs, digits that the interval allows, what a bar says of itself.
//
// Uses limits.js, for the width of a bar.

import { widthOf } from "./limits.js";

const MINUS = "\u2212";

export function signed(value, digits) {
  const text = Math.abs(value).toFixed(digits);
  return Number(text) === 0 ? text : `${value < 0 ? MINUS : "+"}${text}`;
}

// The decimals that half the width of an interval allows.
export function decimals(low, high) {
  const half = (high - low) / 2;
  return !Number.isFinite(half) || half >= 1 ? 0 : Math.min(3, Math.ceil(-Math.log10(Math.max(half, 1e-3))));
}

export const percent = (ratio) => `${Number((100 * ratio).toFixed(2))} %`;

// A damage: two digits, and no more zeros than can be told from nothing.
export const damageWords = (damage) => (damage > 0 && damage < 1e-6 ? "below 0.000001" : String(Number(damage.toPrecision(2))));

function sketchWords(desk, effect) {
  if (effect === null) return ["not sketched", ""];
  const { label, unit, band: over } = desk.data.sketch, [damage, low, high] = effect.figures;
  if (damage === 0 && high === 0) return ["keeps everything", ""];
  const what = `${label} ${damageWords(damage)}${unit && ` ${unit}`}`, verdict = effect.isTold ? "" : "; cannot tell apart from zero";
  const band = high === null ? `no interval from one image${verdict}` : `${over}: ${damageWords(low)} to ${damageWords(high)}${verdict}`;
  if (effect.measured) return [`predicted ${what}`, band];
  const [below, above] = effect.between.map(percent);
  return [`about ${what}`, `${band}; between those predicted at ${below} and ${above}`];
}

// What a bar's effect is, and its interval: two texts.
export function effectWords(desk, effect) {
  if (desk.data.sketch) return sketchWords(desk, effect);
  if (!desk.data.curves || effect === null) return ["not measured", ""];
  const [delta, low, high] = effect.figures;
  if (effect.figures.every((figure) => figure === 0)) return ["keeps everything", ""];
  const digits = decimals(low, high);
  const verdict = low <= 0 && high >= 0 ? "; cannot tell apart from the baseline" : "";
  const band = `95 %: ${signed(low, digits)} to ${signed(high, digits)}${verdict}`;
  if (effect.measured) return [`measured ${signed(delta, digits)} points`, band];
  const [below, above] = effect.between.map(percent);
  return [`about ${signed(delta, digits)} points`, `${band}; between those measured at ${below} and ${above}`];
}

export function stopWords(desk, site, block, bar) {
  return `${percent(bar.ratio)} dropped, keeps ${bar.kept} of ${widthOf(desk, site, block)}`;
}

function digitsOf({ ci95: [low, high] }, figure) {
  const half = (high - low) / 2;
  return half > 0 && Number.isFinite(half) ? Math.max(figure.digits, Math.min(7, Math.ceil(-Math.log10(half)))) : figure.digits;
}

// A measured or predicted figure, or a difference of two, as wording.py writes it: percents and points have one decimal at least.
export function estimateWords(estimate, figure, isChange = false) {
  const digits = digitsOf(estimate, figure), unit = isChange ? figure.change_unit : figure.unit;
  return `${isChange ? signed(estimate.value, digits) : estimate.value.toFixed(digits)}${unit && ` ${unit}`}`;
}

export function intervalWords(estimate, figure, isChange = false) {
  const digits = digitsOf(estimate, figure), [low, high] = estimate.ci95;
  if (isChange) return `${signed(low, digits)} to ${signed(high, digits)}`;
  return `${low.toFixed(digits)} to ${high.toFixed(digits)}${figure.unit && ` ${figure.unit}`}`;
}

export function verdictWords({ ci95: [low, high] }) {
  if (high < 0) return "worse";
  return low > 0 ? "better" : "cannot be told from the baseline";
}
