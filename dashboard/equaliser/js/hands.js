// Hands: what pointer, wheel and keys do to a bar.
//
// Uses edits.js for what they change, limits.js for where a pointer lands, messages.js for when it is sent, paint.js for what is hovered.

import { moveBar, refuse, setBar, setLimit, toggleLock } from "./edits.js";
import { limitOf, nearest, stopsOf } from "./limits.js";
import { holdEdit, sendEdit, sendStep, sendWhenSettled } from "./messages.js";
import { paintAll, paintHover, paintInspector } from "./paint.js";

const DOUBLE_MS = 300;
const DOUBLE_PX = 6;
const DRAG_PX = 3;

export function selectBar(desk, site, block) {
  const [before, index] = desk.selected;
  desk.selected = [site, block];
  desk.bars[before][index].track.classList.remove("selected");
  desk.bars[site][block].track.classList.add("selected");
  desk.bars[site][desk.tabStops[site]].track.tabIndex = -1;
  desk.tabStops[site] = block;
  desk.bars[site][block].track.tabIndex = 0;
  paintInspector(desk);
}

function stopUnder(desk, site, block, event) {
  const box = desk.bars[site][block].track.getBoundingClientRect();
  const ratio = Math.min(1, Math.max(0, (box.bottom - event.clientY) / box.height));
  return nearest(desk, site, block, event.shiftKey ? ratio : Math.round(100 * ratio) / 100);
}

export function onDown(desk, site, block, event) {
  if (event.button !== 0) return;
  const { track } = desk.bars[site][block];
  track.focus({ preventScroll: true });
  const { last } = desk;
  desk.last = { site, block, time: event.timeStamp, y: event.clientY, before: structuredClone(desk.now) };
  const again = last && last.site === site && last.block === block && event.timeStamp - last.time < DOUBLE_MS;
  if (again && Math.abs(event.clientY - last.y) < DOUBLE_PX) {
    holdEdit(desk);
    desk.now = last.before;
    desk.counted = null;
    desk.last = null;
    toggleLock(desk, site, block);
    paintAll(desk);
    return;
  }
  if (limitOf(desk, site, block).locked) {
    refuse(desk, site, block);
    return;
  }
  holdEdit(desk);
  track.setPointerCapture(event.pointerId);
  desk.foreseen = null;
  desk.drag = { site, block, y: event.clientY, moved: false, pointer: event.pointerId };
  listenForEnd(desk);
  desk.hovered = null;
  paintHover(desk, site, block, null);
  setBar(desk, site, block, stopUnder(desk, site, block, event));
}

export function onMove(desk, site, block, event) {
  if (desk.drag) {
    if (Math.abs(event.clientY - desk.drag.y) > DRAG_PX) desk.drag.moved = true;
    if (desk.drag.moved) setBar(desk, desk.drag.site, desk.drag.block, stopUnder(desk, desk.drag.site, desk.drag.block, event));
    return;
  }
  if (event.pointerType === "touch") return;
  const stop = stopUnder(desk, site, block, event);
  if (stop === null) return;
  desk.hovered = [site, block, stop];
  paintHover(desk, site, block, stop[0]);
  paintInspector(desk);
}

export function onLeave(desk, site, block) {
  desk.hovered = null;
  paintHover(desk, site, block, null);
  paintInspector(desk);
}

// The window hears of the end wherever the pointer is by then, and whatever has become of the bar.
function listenForEnd(desk) {
  const ending = new AbortController();
  const end = (does) => (event) => {
    if (event.pointerId !== desk.drag?.pointer) return;
    ending.abort();
    does(desk);
  };
  addEventListener("pointerup", end(onUp), { signal: ending.signal });
  addEventListener("pointercancel", end(onCancel), { signal: ending.signal });
}

// Gives the pointer that is down to the new element of the bar that it drags.
export function holdAgain(desk) {
  const { track } = desk.bars[desk.drag.site][desk.drag.block];
  track.focus({ preventScroll: true });
  listenForEnd(desk);
  try {
    track.setPointerCapture(desk.drag.pointer);
  } catch {
    onUp(desk); // the pointer is gone: it has let go
  }
}

// A click waits for a second one that would make it a lock; a drag is sent at once.
function onUp(desk) {
  if (!desk.drag) return;
  const { moved } = desk.drag;
  desk.drag = null;
  if (moved) sendEdit(desk);
  else sendWhenSettled(desk);
}

function onCancel(desk) {
  if (!desk.drag) return;
  desk.drag = null;
  desk.now = desk.last.before;
  desk.counted = null;
  paintAll(desk);
}

// Only the bar that has the focus takes the wheel: a page that scrolls under the pointer must not change a schedule.
export function onWheel(desk, site, block, event) {
  if (desk.root.getRootNode().activeElement !== desk.bars[site][block].track || !event.deltaY) return;
  event.preventDefault();
  moveBar(desk, site, block, -Math.sign(event.deltaY), event.shiftKey);
}

export function onBarKey(desk, site, block, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const stops = stopsOf(desk, site, block), row = desk.bars[site];
  const go = (next) => row[Math.min(row.length - 1, Math.max(0, next))].track.focus();
  const to = (ratio) => { if (setBar(desk, site, block, nearest(desk, site, block, ratio))) sendWhenSettled(desk); };
  const here = desk.now[site][block].ratio;
  const does = {
    ArrowUp: () => moveBar(desk, site, block, 1, event.shiftKey), ArrowDown: () => moveBar(desk, site, block, -1, event.shiftKey),
    PageUp: () => moveBar(desk, site, block, 10, false), PageDown: () => moveBar(desk, site, block, -10, false),
    Home: () => to(0), End: () => to(stops[stops.length - 1][0]),
    ArrowLeft: () => go(block - 1), ArrowRight: () => go(block + 1),
    l: () => toggleLock(desk, site, block), L: () => toggleLock(desk, site, block),
    "[": () => setLimit(desk, site, block, { low: here }), "]": () => setLimit(desk, site, block, { high: here }),
  }[event.key];
  if (!does) return;
  event.preventDefault();
  event.stopPropagation();
  does();
}

export function onDeskKey(desk, event) {
  if (!event.ctrlKey && !event.metaKey) return;
  const key = event.key.toLowerCase();
  if (key !== "z" && key !== "y") return;
  event.preventDefault();
  event.stopPropagation();
  sendStep(desk, key === "y" || event.shiftKey ? "redo" : "undo");
}
