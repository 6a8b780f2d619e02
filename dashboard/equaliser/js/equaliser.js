// The equaliser. Streamlit calls the default export on every run of the page with the same `parentElement`.
//
// What moves is drawn here without asking the server; the server hears of an edit when the pointer is released or the keys rest.
// Data of an earlier run never pushes back a bar that has moved since.
//
// Uses limits.js to read the page's data, messages.js to tell whether it is new, build.js for the elements, paint.js to show it.

import { build } from "./build.js";
import { barsOf, limitsOfRows } from "./limits.js";
import { allSeen, postThrough } from "./messages.js";
import { paintAll } from "./paint.js";

export default function (component) {
  const root = component.parentElement.querySelector(".equaliser");
  root.desk ??= newDesk(root);
  postThrough((messages) => component.setTriggerValue("sent", messages));
  adopt(root.desk, component.data);
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
    bars: {}, parts: {}, built: "", heated: null, // elements, the form they were built for, the curves their colours show
  };
}

// Takes the page's data over, but not where an edit made here is newer.
function adopt(desk, data) {
  desk.data = data;
  const isNewest = allSeen(data.seen);
  const form = JSON.stringify([data.of, data.kinds.map((kind) => kind.widths)]);
  if (desk.built !== form) build(desk, form);
  if (isNewest) {
    desk.limits = limitsOfRows(data.limits);
    desk.linked = new Set(data.linked);
  }
  if (!desk.now || (isNewest && !desk.drag && !desk.timer)) {
    desk.now = barsOf(data);
    desk.counted = data.counted;
  }
  paintAll(desk);
}
