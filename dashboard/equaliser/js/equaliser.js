// The equaliser. Streamlit calls the default export on every run of the page with the same `parentElement`.
//
// What moves is drawn here without asking the server; the server hears of an edit when the pointer is released or the keys rest.
// Data of an earlier run never pushes back a bar that has moved since.
//
// Uses limits.js to read the page's data, messages.js to tell whether it is new and for what is still to be sent, build.js for the elements,
// hands.js for a pointer that is down while they are built, live.js for what the engine says, paint.js and totals.js to show it.

import { build } from "./build.js";
import { holdAgain } from "./hands.js";
import { barsOf, limitsOfRows } from "./limits.js";
import { askLive, nothingKnown } from "./live.js";
import { allSeen, holdEdit, postThrough, sendWhenSettled } from "./messages.js";
import { paintAll } from "./paint.js";
import { paintTotals } from "./totals.js";

const NEWEST = Symbol.for("toast.equaliser.newest");
const LISTENING = Symbol.for("toast.equaliser.listening");

export default function (component) {
  const root = component.parentElement.querySelector(".equaliser"), before = globalThis[NEWEST];
  const desk = globalThis[NEWEST] = root.desk ??= newDesk(root);
  postThrough((messages) => component.setTriggerValue("sent", messages));
  desk.tellFigures = () => paintTotals(desk);
  if (!globalThis[LISTENING]) addEventListener("toast-figures", () => globalThis[NEWEST].now && globalThis[NEWEST].tellFigures());
  globalThis[LISTENING] = true;
  adopt(desk, component.data, before === desk ? null : before);
}

// What one mounted equaliser remembers.
function newDesk(root) {
  return {
    root,
    data: null, // the page's newest data, as `equaliser_data` in mount.py puts it together
    now: null, // the bars as they stand, with edits of which the server knows nothing yet
    counted: null, // the server's own cost of `now`; null as soon as a bar has moved
    limits: new Map(), // ranges and locks, kept by limits.js
    linked: new Set(), // pairs that move together, as "qk+vo"
    selected: ["fc2", 0], hovered: null, // the bar that has the focus; the bar and stop under the pointer
    tabStops: { qk: 0, vo: 0, fc1: 0, fc2: 0 }, // the one bar of each site that Tab reaches
    drag: null, last: null, timer: 0, // the pointer that is down; the last press, for double clicks; an edit that waits
    live: nothingKnown(), foreseen: null, foreseeing: 0, // what the engine has said, and foresees while a bar is dragged
    bars: {}, parts: {}, figures: null, built: "", heated: null, // elements, the form they were built for, the curves their colours show
  };
}

// Takes the page's data over, but not where an edit made here is newer: in these elements, or in those mounted `before` them.
function adopt(desk, data, before) {
  desk.data = data;
  const isNewest = allSeen(data.seen);
  desk.root.setAttribute("aria-busy", String(!isNewest));
  const form = JSON.stringify([data.of, data.kinds.map((kind) => kind.widths)]);
  if (desk.built !== form) build(desk, form);
  const isHeld = before?.built === form && takeOver(desk, before, isNewest);
  if (isNewest) {
    desk.limits = limitsOfRows(data.limits);
    desk.linked = new Set(data.linked);
  }
  if (!desk.now || (isNewest && !desk.drag && !desk.timer)) {
    desk.now = barsOf(data);
    desk.counted = data.counted;
    askLive(desk);
  }
  paintAll(desk);
  if (isHeld) holdAgain(desk);
}

// What is in hand outlives the elements, as messages do: Streamlit mounts anew where a page's parts move, in the middle of a drag for
// instance, and keeps both for a moment. Takes over what the server does not know yet; whether a pointer is down.
function takeOver(desk, before, isNewest) {
  const { now, counted, selected, last, drag, timer, live } = before;
  Object.assign(desk, { selected, last, live });
  if (isNewest && !drag && !timer) return false;
  Object.assign(desk, { now, counted, drag, limits: before.limits, linked: before.linked });
  holdEdit(before);
  before.drag = null;
  if (timer) sendWhenSettled(desk);
  return Boolean(drag);
}
