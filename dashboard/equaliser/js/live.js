// What the engine says of the schedule in hand, on a channel of its own: the page is drawn anew meanwhile, which takes its time.
//
// `desk.live` holds what is known: `of` names the schedule, `predicted` and `measured` are the engine's messages, `note` its words while it
// loads, `error` what stands in the way. What was measured of the schedule before stays in `old`, to be shown in grey.
// Uses limits.js, for the sites.

import { SITES } from "./limits.js";

const FORESEE_MS = 150; // between two questions while a bar is dragged

export const nothingKnown = () => ({ of: "", predicted: null, measured: null, note: "", error: "", old: null, stop: null });

const named = (ratios, { schedule }) => JSON.stringify([ratios, { ...schedule, blocks: null }]);

// The schedule in hand by its ratios and settings, as `desk.live.of` names it; and the one that the page's data are about.
export const handOf = (desk) => named(SITES.map((site) => desk.now[site].map((bar) => bar.ratio)), desk.data.live);
const pagesHandOf = ({ data }) => named(SITES.map((site) => data.ratios[site]), data.live);

export const isBaseline = (desk) => SITES.every((site) => desk.now[site].every((bar) => bar.ratio === 0));

function scheduleOf(desk) {
  const { schedule } = desk.data.live;
  const rowOf = (block) => Object.fromEntries(SITES.map((site) => [site, desk.now[site][block].ratio]));
  return { ...schedule, blocks: schedule.blocks.map((_, block) => rowOf(block)) };
}

function request(desk, measure, signal) {
  const { path, session } = desk.data.live;
  const body = JSON.stringify({ session, schedule: scheduleOf(desk), measure });
  return fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body, signal });
}

// Has the schedule in hand measured, unless that is known or on its way. What the page knows of it already is taken over.
export function askLive(desk) {
  const of = handOf(desk), { kept, predicted, asks } = desk.data.live, isThePages = of === pagesHandOf(desk);
  if (desk.live.of !== of) {
    desk.live.stop?.abort();
    desk.live = { ...nothingKnown(), of, old: desk.live.measured ?? desk.live.old };
    if (asks && !(isThePages && kept)) listen(desk, desk.live);
  }
  if (isThePages && kept) Object.assign(desk.live, { measured: kept, note: "", error: "" });
  if (isThePages && predicted) desk.live.predicted = predicted;
  desk.tellFigures();
}

// Has the schedule in hand predicted while a bar is dragged, at most every so often.
export function foresee(desk) {
  if (!desk.drag || !desk.data.live.asks || desk.foreseeing) return;
  desk.foreseeing = setTimeout(async () => {
    const of = handOf(desk);
    try {
      if (of !== desk.live.of && !isBaseline(desk)) {
        const lines = (await (await request(desk, false)).text()).trim().split("\n").map((line) => JSON.parse(line));
        const found = lines.find((line) => line.answer === "predicted");
        if (found) desk.foreseen = { of, predicted: found };
      }
    } catch { /* the next release asks again, and says what is wrong */ }
    desk.foreseeing = 0;
    desk.tellFigures();
    if (of !== handOf(desk)) foresee(desk);
  }, FORESEE_MS);
}

async function listen(desk, live) {
  live.stop = new AbortController();
  try {
    const answer = await request(desk, true, live.stop.signal);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const lines = (text + part.value).split("\n");
      text = lines.pop();
      for (const line of lines) take(desk, live, JSON.parse(line));
      if (desk.live === live) desk.tellFigures();
    }
    if (!answer.ok) throw new Error(JSON.parse(text).error);
  } catch (error) {
    if (desk.live !== live || live.stop.signal.aborted) return;
    live.error = error.message;
    desk.tellFigures();
  }
}

function take(desk, live, message) {
  if (message.answer === "cost" && desk.live === live && handOf(desk) === live.of) desk.counted = message;
  else if (message.answer === "predicted") live.predicted = message;
  else if (message.answer === "progress") live.note = message.text;
  else if (message.answer === "refusal") live.error = message.error;
  else if (message.answer === "measurement") Object.assign(live, { measured: message, note: "", error: "" });
}
