// What the server hears: ratios, limits, links, undo and redo, each as one message with a number. A message is sent again, with the next
// one or after a while, until the page's data says that it was `seen`: so no edit is lost. `mount.py` takes them, in their order.
//
// Uses limits.js, for the sites and the rows of limits, and live.js, which asks the engine at once.

import { SITES, rowsOfLimits } from "./limits.js";
import { askLive } from "./live.js";

const SETTLE_MS = 300;
const RESEND_MS = 1500; // doubled each time: sending interrupts the page's run, which must get the time to answer

// Messages on their way outlive the elements: Streamlit mounts anew where a page's parts move, under a notice for instance.
const outbox = globalThis[Symbol.for("toast.equaliser.outbox")] ??= { number: 0, queue: [], resend: 0, post: null };

// Where messages go out: each run of the page hands over a function of its own.
export function postThrough(post) {
  outbox.post = post;
}

// Forgets what the server has `seen`. Whether that is all: then its data is newer than any edit made here.
export function allSeen(seen) {
  outbox.queue = outbox.queue.filter((message) => message.number > seen);
  if (outbox.queue.length) return false;
  clearTimeout(outbox.resend);
  outbox.number = seen;
  return true;
}

function send(desk, message) {
  desk.root.setAttribute("aria-busy", "true"); // until the page's data says that it was seen
  outbox.queue.push({ number: ++outbox.number, ...message });
  post(RESEND_MS);
}

function post(patience) {
  clearTimeout(outbox.resend);
  outbox.post([...outbox.queue]);
  outbox.resend = setTimeout(() => outbox.queue.length && post(2 * patience), patience);
}

export function sendEdit(desk) {
  holdEdit(desk);
  askLive(desk);
  send(desk, { ratios: Object.fromEntries(SITES.map((site) => [site, desk.now[site].map((bar) => bar.ratio)])) });
}

// Keys and wheel come in runs, and a click may turn out to be half of a double click: one edit is sent when they rest.
export function sendWhenSettled(desk) {
  clearTimeout(desk.timer);
  desk.timer = setTimeout(() => sendEdit(desk), SETTLE_MS);
}

// Takes back an edit that waits for the keys to rest.
export function holdEdit(desk) {
  clearTimeout(desk.timer);
  desk.timer = 0;
}

// An edit that waits goes first: a step back must undo it, and limits hold what it has set.
export function sendStep(desk, step) {
  if (desk.timer) sendEdit(desk);
  send(desk, { step });
}

export function sendLimits(desk) {
  if (desk.timer) sendEdit(desk);
  send(desk, { limits: rowsOfLimits(desk.limits) });
}

export function sendLinks(desk) {
  send(desk, { linked: [...desk.linked] });
}
