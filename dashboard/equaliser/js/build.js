// Makes the elements, once for every model: the legend, a bar for every site of every block, the inspector. Painting fills them.
//
// Uses hands.js, edits.js and messages.js for what the elements do, limits.js and colours.js for what they are.

import { POINTS, STRIP } from "./colours.js";
import { setLimit, toggleLink, toggleLock } from "./edits.js";
import { onBarKey, onDeskKey, onDown, onLeave, onMove, onWheel, selectBar } from "./hands.js";
import { PAIRS, SITES, kindOf } from "./limits.js";
import { sendEdit } from "./messages.js";

const LINK_ICON = '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="'
  + 'M6.5 9.5l3-3M7 4.5l1.6-1.6a2.9 2.9 0 0 1 4.1 4.1L11 8.6M9 11.5l-1.6 1.6a2.9 2.9 0 0 1-4.1-4.1L5 7.4"/></svg>';
const KEYS = "Drag, or \u2191 \u2193 by a point (Shift: by a stop, Page: by ten) \u00b7 \u2190 \u2192 next block \u00b7 "
  + "double-click or L locks \u00b7 [ and ] set the range \u00b7 Ctrl+Z undoes";
const MANY = 20; // blocks from which bars are as narrow as they can be
const GRAMMAR = "Every bar is a site of a block: its height is the percentage of channels dropped, up is more.";
const ABOUT = { qk: "query, key", vo: "value, output", fc1: "FFN inputs", fc2: "FFN hidden" };

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

export function build(desk, form) {
  desk.built = form;
  desk.now = desk.heated = desk.hovered = desk.drag = null;
  desk.root.replaceChildren();
  buildLegend(desk);
  buildSites(desk);
  buildInspector(desk);
  desk.parts.live = element("div", "unseen");
  desk.parts.live.setAttribute("aria-live", "polite");
  desk.root.append(desk.parts.live);
  desk.root.onkeydown = (event) => onDeskKey(desk, event);
  desk.root.onfocusout = () => desk.timer && !desk.drag && sendEdit(desk);
}

function buildLegend(desk) {
  const legend = element("div", "legend"), title = element("div", "title"), strip = element("div", "strip"), row = element("div", "ticks");
  strip.style.background = STRIP;
  const ticks = POINTS.map(() => element("span")), note = element("div", "note"), hatched = element("div", "note hatched");
  row.append(...ticks);
  hatched.append(element("i", "untold"), element("span", "", "cannot be told from zero"));
  const scale = element("div", "scale"), basis = element("div", "basis");
  scale.append(title, strip, row);
  basis.append(note, hatched);
  legend.append(scale, basis);
  desk.parts.legend = { legend, title, ticks, note, hatched };
  desk.root.append(element("div", "note grammar", GRAMMAR), legend);
}

function buildSites(desk) {
  const scroller = element("div", "scroller"), sites = element("div", "sites"), blocks = desk.data.of.length;
  sites.style.setProperty("--blocks", blocks);
  sites.classList.toggle("many", blocks > MANY);
  desk.parts.links = {};
  PAIRS.forEach((pair, row) => {
    const name = pair.join("+"), button = element("button", "link");
    button.type = "button";
    button.innerHTML = LINK_ICON;
    button.title = `Move ${pair.join(" and ")} together`;
    button.setAttribute("aria-label", `Link ${pair.join(" and ")}`);
    button.style.gridRow = `${2 * row + 1} / span 2`;
    button.onclick = () => toggleLink(desk, name);
    desk.parts.links[name] = button;
    sites.append(button);
  });
  SITES.forEach((site, index) => {
    const head = element("div", "head");
    head.append(element("b", "", site), element("span", "", ABOUT[site]), element("span", "ends", "% dropped \u2191"));
    head.style.gridRow = `${index + 1}`;
    const row = element("div", "row");
    row.style.gridRow = `${index + 1}`;
    row.setAttribute("role", "group");
    row.setAttribute("aria-label", `${site}: ${ABOUT[site]}, fraction dropped by block`);
    desk.bars[site] = Array.from({ length: blocks }, (_, block) => buildBar(desk, site, block, row));
    sites.append(head, row);
  });
  const axis = element("div", "axis");
  axis.append(element("span", "name", "Block"));
  for (let block = 0; block < blocks; block++) {
    const mark = element("span", startsStage(desk, block) ? "stage" : "", block);
    axis.append(mark);
  }
  sites.append(axis);
  scroller.append(sites);
  desk.root.append(scroller);
}

const startsStage = (desk, block) => block > 0 && kindOf(desk, block).stage !== kindOf(desk, block - 1).stage;

function buildBar(desk, site, block, row) {
  const cell = element("div", startsStage(desk, block) ? "cell stage" : "cell");
  const label = element("span", "label"), track = element("div", "track");
  const parts = Object.fromEntries(["heat", "fill", "untold", "below", "above", "ghost", "reach", "thumb"].map((name) => [name, element("i", name)]));
  track.append(...Object.values(parts));
  track.setAttribute("role", "slider");
  track.setAttribute("aria-orientation", "vertical");
  track.setAttribute("aria-label", `block ${block}, ${site}`);
  track.dataset.site = site;
  track.dataset.block = block;
  track.onpointerdown = (event) => onDown(desk, site, block, event);
  track.onpointermove = (event) => onMove(desk, site, block, event);
  track.onpointerleave = () => onLeave(desk, site, block);
  track.onfocus = () => selectBar(desk, site, block);
  track.onkeydown = (event) => onBarKey(desk, site, block, event);
  track.addEventListener("wheel", (event) => onWheel(desk, site, block, event), { passive: false });
  parts.reach.hidden = true;
  cell.append(label, track);
  row.append(cell);
  return { cell, label, track, ...parts };
}

function buildInspector(desk) {
  const inspector = element("div", "inspector"), words = element("div", "words");
  const swatch = element("i", "swatch"), place = element("b"), stop = element("span", "stop"), effect = element("span", "effect");
  const band = element("span", "band");
  words.append(swatch, place, stop, effect, band);
  const actions = element("div", "actions"), buttons = {};
  for (const [name, does] of [
    ["lock", (site, block) => toggleLock(desk, site, block)],
    ["low", (site, block) => setLimit(desk, site, block, { low: desk.now[site][block].ratio })],
    ["high", (site, block) => setLimit(desk, site, block, { high: desk.now[site][block].ratio })],
    ["free", (site, block) => setLimit(desk, site, block, { low: 0, high: 1, locked: false })],
  ]) {
    buttons[name] = element("button");
    buttons[name].type = "button";
    buttons[name].onclick = () => does(...desk.selected);
    actions.append(buttons[name]);
  }
  inspector.append(words, actions);
  const keys = element("div", "keys", KEYS);
  desk.parts.inspector = { swatch, place, stop, effect, band, buttons };
  desk.root.append(inspector, keys);
}
