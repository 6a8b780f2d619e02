// The bar of figures that stays in sight: what the schedule in hand costs, and what is measured of it, or predicted until that comes.
//
// Uses counts.js and limits.js for what is counted, live.js for what the engine has said, words.js for how it reads.

import { costOf, millisecondsOf } from "./counts.js";
import { barsOf } from "./limits.js";
import { handOf, isBaseline } from "./live.js";
import { damageWords, estimateWords, intervalWords, signed, verdictWords } from "./words.js";

const PLACE = Symbol.for("toast.figures"); // where the page has put the bar, which is mounted apart so that it stays while all else scrolls
const DASH = "\u2013";

function made(tag, className, text) {
  const element = document.createElement(tag);
  element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// Makes the bar's figures in its place; nothing where the page has none yet.
export function buildTotals(desk) {
  const place = globalThis[PLACE];
  if (!place) return;
  const { title, change_title: changeTitle } = desk.data.figure;
  desk.figures = {};
  place.replaceChildren();
  for (const [name, words] of [["macs", "GMACs per image"], ["latency", "Latency"], ["top1", title], ["delta", changeTitle]]) {
    const total = made("div", `total ${name}`), heading = made("div", "title", `${words} `), line = made("div", "line");
    const badge = made("span", "badge"), figure = made("span", "figure"), aside = made("span", "aside"), note = made("div", "note");
    heading.append(badge);
    line.append(figure, aside);
    total.append(heading, line, note);
    place.append(total);
    desk.figures[name] = { total, badge, figure, aside, note };
  }
}

function fill(parts, { figure, aside = "", note = "", badge = "", isOld = false, isSoft = false }) {
  parts.figure.textContent = figure;
  parts.aside.textContent = aside;
  parts.note.textContent = note;
  parts.badge.textContent = badge;
  parts.badge.className = `badge ${badge}`;
  parts.badge.hidden = !badge;
  parts.total.classList.toggle("old", isOld);
  parts.total.classList.toggle("soft", isSoft);
}

// Counted here while a bar moves, and by the server as soon as it has answered.
export function paintTotals(desk) {
  if (!desk.figures || !globalThis[PLACE]?.contains(desk.figures.macs.total)) buildTotals(desk);
  if (!desk.figures) return;
  paintCost(desk);
  paintLatency(desk);
  paintMeasured(desk);
}

function paintCost(desk) {
  const { data, figures: { macs: parts } } = desk;
  const cost = desk.counted ?? costOf(desk, desk.now), compared = data.ghost && costOf(desk, barsOf(data.ghost));
  const change = (name, before) => `${signed((100 * (cost[name] - before[name])) / before[name], 0)} %`;
  const words = `of ${(data.baseline.macs / 1e9).toPrecision(3)}; ${(cost.params / 1e6).toPrecision(3)} M parameters (${change("params", data.baseline)})`;
  const beside = compared ? `\n${change("macs", compared)}, parameters ${change("params", compared)} against the marks` : "";
  fill(parts, { figure: (cost.macs / 1e9).toPrecision(3), aside: change("macs", data.baseline), note: words + beside, badge: "computed" });
  Object.assign(parts.total.dataset, { exact: cost.macs, params: cost.params, counted: desk.counted ? "server" : "browser" });
}

function paintLatency(desk) {
  const { data: { latency, latency_missing: missing }, figures: { latency: parts } } = desk;
  delete parts.total.dataset.exact;
  if (!latency) {
    fill(parts, { figure: DASH, note: missing ?? "" });
    return;
  }
  const found = millisecondsOf(desk, desk.now), change = signed((100 * (found - latency.baseline_ms)) / latency.baseline_ms, 0);
  parts.total.dataset.exact = found;
  const note = `of ${latency.baseline_ms.toPrecision(3)} ms; ${latency.note}`;
  fill(parts, { figure: `${found.toPrecision(3)} ms`, aside: `${change} %`, note, badge: "predicted" });
}

// What the bar shows of the schedule in hand: measured where that is known of it, else predicted, else what was measured before, in grey.
function paintMeasured(desk) {
  const { live, data: { figure }, figures: { top1, delta } } = desk, isOf = live.of === handOf(desk);
  const measured = isOf ? live.measured : null, foreseen = isOf ? live.predicted : foreseenOf(desk);
  top1.total.dataset.state = measured ? (measured.images_done === measured.images_total ? "measured" : "measuring") : "waiting";
  if (measured) {
    const { scheduled, baseline, change, images_done: done, images_total: total } = measured;
    const images = done < total ? `${done.toLocaleString("en")} of ${total.toLocaleString("en")}` : done.toLocaleString("en");
    fill(top1, {
      figure: estimateWords(scheduled.estimates[0], figure), badge: "measured",
      note: `95 %: ${intervalWords(scheduled.estimates[0], figure)}; ${images} images`,
    });
    fill(delta, {
      figure: estimateWords(change, figure, true), badge: "measured",
      note: `95 %: ${intervalWords(change, figure, true)}; ${isBaseline(desk) ? "this is the baseline" : verdictWords(change)}\nbaseline ${estimateWords(baseline.estimates[0], figure)}`,
    });
    return;
  }
  const { measured: before } = isOf ? { measured: live.old } : live, old = before ?? live.old;
  const waiting = live.error && isOf ? live.error : (isOf && live.note) || desk.data.live.why || "measured when the bar is let go";
  fill(top1, { figure: old ? estimateWords(old.scheduled.estimates[0], figure) : DASH, isOld: true, note: old ? `before this edit\n${waiting}` : waiting });
  paintForeseen(desk, delta, foreseen, old);
}

// While a bar moves what was foreseen a moment ago stays, or the figure would flicker.
const foreseenOf = (desk) => (desk.foreseen && (desk.drag || desk.foreseen.of === handOf(desk)) ? desk.foreseen.predicted : null);

function paintForeseen(desk, parts, foreseen, old) {
  const { figure, damage } = desk.data;
  if (foreseen?.change) {
    const kl = foreseen.damage ? `\n${damage.label} ${damageWords(foreseen.damage.value)}${damage.unit && ` ${damage.unit}`}` : "";
    const note = `95 %: ${intervalWords(foreseen.change, figure, true)}${kl}`;
    fill(parts, { figure: estimateWords(foreseen.change, figure, true), badge: "predicted", isSoft: true, note });
    return;
  }
  const note = foreseen?.why ? `not predicted: ${foreseen.why}` : old ? "before this edit" : "";
  fill(parts, { figure: old ? estimateWords(old.change, figure, true) : DASH, isOld: true, note });
}
