// The equaliser. Streamlit calls the default export on every run of the page with the same `parentElement`.
//
// What moves is drawn here without asking the server; the server hears of an edit when the pointer is released or the keys rest.
// Data of an earlier run never pushes back a bar that has moved since.
//
// Uses limits.js to read the page's data, messages.js to tell whether it is new, build.js for the elements, hands.js for a pointer that is
// down while they are built, paint.js to show it.

import { build } from "./build.js";
import { holdAgain } from "./hands.js";
import { barsOf, limitsOfRows } from "./limits.js";
import { allSeen, postThrough } from "./messages.js";
import { paintAll } from "./paint.js";

// What is in hand outlives the elements, as messages do: Streamlit mounts anew where a page's parts move, in the middle of a drag for instance.
const DESK = Symbol.for("toast.equaliser.desk");

export default function (component) {
  const root = component.parentElement.querySelector(".equaliser"), desk = globalThis[DESK] ??= newDesk();
  if (desk.root !== root) Object.assign(desk, { root, built: "" });
  postThrough((messages) => component.setTriggerValue("sent", messages));
  adopt(desk, component.data);
}

// What an equaliser remembers.
function newDesk() {
  return {
    root: null, // the element that it is mounted in
    data: null, // the page's newest data, as `equaliser_data` in mount.py puts it together
    now: null, // the bars as they stand, with edits of which the server knows nothing yet
    counted: null, // the server's own cost of `now`; null as soon as a bar has moved
    limits: new Map(), // ranges and locks, kept by limits.js
    linked: new Set(), // pairs that move together, as "qk+vo"
    selected: ["fc2", 0], hovered: null, // the bar that has the focus; the bar and stop under the pointer
    tabStops: { qk: 0, vo: 0, fc1: 0, fc2: 0 }, // the one bar of each site that Tab reaches
    drag: null, last: null, timer: 0, // the pointer that is down; the last press, for double clicks; an edit that waits
    bars: {}, parts: {}, form: "", built: "", heated: null, // elements; the model's form and that they were built for; colours shown
  };
}

// Takes the page's data over, but not where an edit made here is newer.
function adopt(desk, data) {
  desk.data = data;
  const isNewest = allSeen(data.seen);
  const form = JSON.stringify([data.of, data.kinds.map((kind) => kind.widths)]);
  if (desk.form !== form) Object.assign(desk, { form, now: null, drag: null });
  const isNew = desk.built !== form;
  if (isNew) build(desk, form);
  if (isNewest) {
    desk.limits = limitsOfRows(data.limits);
    desk.linked = new Set(data.linked);
  }
  if (!desk.now || (isNewest && !desk.drag && !desk.timer)) {
    desk.now = barsOf(data);
    desk.counted = data.counted;
  }
  paintAll(desk);
  if (isNew) holdAgain(desk);
}
