// The equaliser. Streamlit calls the default export on every run of the page with the same `parentElement`.
//
// What moves is drawn here without asking the server; the server hears of an edit when the pointer is released or the keys rest.
// Every message carries a number and is sent again, with the next one or after a while, until the page's data says that it was
// `seen`: so no edit is lost, and data of an earlier run never pushes back a bar that has moved since.

const SITES = ["qk", "vo", "fc1", "fc2"];
const PAIRS = [["qk", "vo"], ["fc1", "fc2"]];
const ABOUT = {
  qk: "query, key", vo: "value, output", fc1: "FFN inputs", fc2: "FFN hidden",
};
const SETTLE_MS = 300;
const RESEND_MS = 1500; // doubled each time: sending interrupts the page's run, which must get the time to answer
const DOUBLE_MS = 300;
const DOUBLE_PX = 6;
const DRAG_PX = 3;
const MINUS = "\u2212";
// Points lost, and their colour: blue to vermilion passes through no pair that colour-blind readers confuse, in both themes.
const SCALE = [[0, [45, 127, 190]], [1, [126, 175, 205]], [3, [229, 190, 110]], [10, [224, 123, 40]], [30, [176, 58, 16]]];
const NEUTRAL = "rgb(138, 143, 152)";
const ICONS = {
  lock: '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M4.5 7V5a3.5 3.5 0 0 1 7 0v2M3.5 7h9v6.5h-9z"/></svg>',
  link: '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M6.5 9.5l3-3M7 4.5l1.6-1.6a2.9 2.9 0 0 1 4.1 4.1L11 8.6M9 11.5l-1.6 1.6a2.9 2.9 0 0 1-4.1-4.1L5 7.4"/></svg>',
};

// Messages on their way outlive the elements: Streamlit mounts anew where a page's parts move, under a notice for instance.
const outbox = globalThis[Symbol.for("toast.equaliser.outbox")] ??= { number: 0, queue: [], resend: 0, post: null };

export default function (component) {
  const root = component.parentElement.querySelector(".equaliser");
  root.desk ??= newDesk(root);
  outbox.post = (messages) => component.setTriggerValue("sent", messages);
  adopt(root.desk, component.data);
}

function newDesk(root) {
  return {
    root, data: null, now: null, limits: new Map(), linked: new Set(), selected: ["fc2", 0],
    tabStops: { qk: 0, vo: 0, fc1: 0, fc2: 0 }, hovered: null, drag: null, timer: 0,
    last: null, counted: null, bars: {}, parts: {}, built: "", heated: null,
  };
}

// ---------- data in, messages out

function adopt(desk, data) {
  desk.data = data;
  outbox.queue = outbox.queue.filter((message) => message.number > data.seen);
  const isNewest = !outbox.queue.length;
  if (isNewest) {
    clearTimeout(outbox.resend);
    outbox.number = data.seen;
  }
  const form = JSON.stringify([data.of, data.kinds.map((kind) => kind.widths)]);
  if (desk.built !== form) build(desk, form);
  if (isNewest) {
    desk.limits = new Map(data.limits.map(([site, block, low, high, locked]) => [`${site} ${block}`, { low, high, locked }]));
    desk.linked = new Set(data.linked);
  }
  if (!desk.now || (isNewest && !desk.drag && !desk.timer)) {
    desk.now = Object.fromEntries(SITES.map((site) => [
      site, data.ratios[site].map((ratio, block) => ({ ratio, kept: data.kept[site][block] })),
    ]));
    desk.counted = data.counted;
  }
  paintAll(desk);
}

function send(message) {
  outbox.queue.push({ number: ++outbox.number, ...message });
  post(RESEND_MS);
}

function post(patience) {
  clearTimeout(outbox.resend);
  outbox.post([...outbox.queue]);
  outbox.resend = setTimeout(() => outbox.queue.length && post(2 * patience), patience);
}

function sendEdit(desk) {
  clearTimeout(desk.timer);
  desk.timer = 0;
  send({ ratios: Object.fromEntries(SITES.map((site) => [site, desk.now[site].map((bar) => bar.ratio)])) });
}

function sendWhenSettled(desk) {
  clearTimeout(desk.timer);
  desk.timer = setTimeout(() => sendEdit(desk), SETTLE_MS);
}

function sendStep(desk, step) {
  if (desk.timer) sendEdit(desk);
  send({ step });
}

// ---------- stops, limits, edits

const kindOf = (desk, block) => desk.data.kinds[desk.data.of[block]];
const widthOf = (desk, site, block) => kindOf(desk, block).widths[site];
const stopsOf = (desk, site, block) => desk.data.stops[widthOf(desk, site, block)];
const limitOf = (desk, site, block) => desk.limits.get(`${site} ${block}`) ?? { low: 0, high: 1, locked: false };
const stopIndex = (desk, site, block, kept) => stopsOf(desk, site, block).findIndex((stop) => stop[1] === kept);

function nearest(desk, site, block, ratio) {
  const { low, high } = limitOf(desk, site, block);
  let best = null;
  for (const stop of stopsOf(desk, site, block)) {
    if (stop[0] < low || stop[0] > high) continue;
    if (best === null || Math.abs(stop[0] - ratio) < Math.abs(best[0] - ratio)) best = stop;
  }
  return best;
}

function set(desk, site, block, stop) {
  if (limitOf(desk, site, block).locked) return refuse(desk, site, block);
  if (stop === null) return false;
  desk.now[site][block] = { ratio: stop[0], kept: stop[1] };
  desk.counted = null;
  paintBar(desk, site, block);
  const pair = PAIRS.find((names) => names.includes(site));
  const other = pair.find((name) => name !== site);
  if (desk.linked.has(pair.join("+")) && !limitOf(desk, other, block).locked) {
    const followed = nearest(desk, other, block, stop[0]);
    if (followed !== null) desk.now[other][block] = { ratio: followed[0], kept: followed[1] };
    paintBar(desk, other, block);
  }
  paintTotals(desk);
  paintInspector(desk);
  return true;
}

function step(desk, site, block, points, single) {
  const stops = stopsOf(desk, site, block);
  const here = stopIndex(desk, site, block, desk.now[site][block].kept);
  const up = Math.sign(points);
  let stop = single ? stops[here + up] : nearest(desk, site, block, desk.now[site][block].ratio + points / 100);
  if (stop && stop[1] === stops[here][1]) stop = stops[here + up];
  const { low, high } = limitOf(desk, site, block);
  if (stop && (stop[0] < low || stop[0] > high)) stop = null;
  if (set(desk, site, block, stop ?? null)) sendWhenSettled(desk);
}

function refuse(desk, site, block) {
  const { track } = desk.bars[site][block];
  track.classList.remove("refused");
  void track.offsetWidth; // starts the animation anew
  track.classList.add("refused");
  desk.parts.live.textContent = `Block ${block}, ${site} is locked. Press L to unlock it.`;
  return false;
}

function setLimit(desk, site, block, change) {
  const limit = { ...limitOf(desk, site, block), ...change };
  if (limit.low > limit.high) {
    if ("low" in change) limit.high = 1;
    else limit.low = 0;
  }
  if (limit.low === 0 && limit.high === 1 && !limit.locked) desk.limits.delete(`${site} ${block}`);
  else desk.limits.set(`${site} ${block}`, limit);
  paintBar(desk, site, block);
  paintInspector(desk);
  if (desk.timer) sendEdit(desk);
  send({
    limits: [...desk.limits].map(([key, { low, high, locked }]) => [key.split(" ")[0], Number(key.split(" ")[1]), low, high, locked]),
  });
}

const toggleLock = (desk, site, block) => setLimit(desk, site, block, { locked: !limitOf(desk, site, block).locked });

function toggleLink(desk, name) {
  if (!desk.linked.delete(name)) desk.linked.add(name);
  paintLinks(desk);
  send({ linked: [...desk.linked] });
}

// ---------- what the tables say

function effectiveRatio(desk, site, block, { ratio, kept }) {
  return desk.data.multiple_of === 1 ? ratio : stopsOf(desk, site, block)[stopIndex(desk, site, block, kept)][0];
}

// The difference at a ratio as [delta, low, high], and whether it was measured there; null beyond the last measured ratio.
function effectAt(desk, site, block, ratio) {
  if (ratio === 0) return { figures: [0, 0, 0], measured: true };
  const line = [[0, 0, 0, 0], ...(desk.data.curves?.[site]?.[block] ?? [])];
  const right = line.findIndex((point) => point[0] >= ratio);
  if (right < 0) return null;
  const [a, b] = [line[right - 1], line[right]];
  const share = (ratio - a[0]) / (b[0] - a[0]);
  return { figures: [1, 2, 3].map((i) => a[i] + share * (b[i] - a[i])), measured: b[0] === ratio, between: [a[0], b[0]] };
}

function costOf(desk, now) {
  const { data } = desk;
  let { macs, params } = data.baseline;
  data.of.forEach((_, block) => {
    const kind = kindOf(desk, block);
    for (const site of ["qk", "vo"]) {
      const [savedMacs, savedParams] = kind[site][stopIndex(desk, site, block, now[site][block].kept)];
      macs -= savedMacs;
      params -= savedParams;
    }
    const fc1 = now.fc1[block], fc2 = now.fc2[block];
    const [start, slope, paramStart, paramSlope] = kind.fc1[stopIndex(desk, "fc1", block, fc1.kept)];
    const dropped = kind.widths.fc2 - fc2.kept;
    macs -= kind.share ? 2 * kind.share - roundHalfEven(kind.share * ((1 - fc1.ratio) + (1 - fc2.ratio))) : start + slope * dropped;
    params -= paramStart + paramSlope * dropped;
  });
  return { macs, params };
}

function roundHalfEven(value) {
  const down = Math.floor(value);
  if (value - down !== 0.5) return Math.round(value);
  return down % 2 === 0 ? down : down + 1;
}

// As `LatencyTable.predict_ms`: of a line between the two measured counts around, counts that vector units take whole and others apart.
function millisecondsOf(desk, now) {
  const { latency } = desk.data;
  let parts = 0;
  latency.kinds.forEach((kind, block) => {
    const times = latency.blocks[kind], at = (site) => now[site][block].kept, [qk, vo, fc1, fc2] = SITES.map(at);
    parts += qk === vo ? onLine(times.equal, qk, latency.aligned) : onSheet(times.unequal, qk, vo);
    parts += fc1 === widthOf(desk, "fc1", block) ? onLine(times.whole, fc2, latency.aligned) : onSheet(times.narrow, fc1, fc2);
  });
  return latency.scale * (latency.outside_ms + parts);
}

function onLine({ kept, ms }, count, aligned) {
  const place = kept.indexOf(count);
  if (place >= 0) return ms[place];
  const alike = kept.map((_, i) => i).filter((i) => (kept[i] % aligned === 0) === (count % aligned === 0));
  return alike.length > 1 ? between(alike.map((i) => kept[i]), alike.map((i) => ms[i]), count) : between(kept, ms, count);
}

const onSheet = ({ first, second, ms }, one, other) => between(first, ms.map((row) => between(second, row, other)), one);

function between(counts, values, wanted) {
  const right = counts.findIndex((count) => count >= wanted);
  if (right === 0) return values[0];
  if (right < 0) return values[values.length - 1];
  return values[right - 1] + ((wanted - counts[right - 1]) / (counts[right] - counts[right - 1])) * (values[right] - values[right - 1]);
}

// As `dashboard.evidence.prediction.predict`; `beyond` names the first bar that no curve reaches.
function predict(desk, now) {
  const { value, low, high } = desk.data.predicted_from;
  let sum = value, down = (value - low) ** 2, up = (high - value) ** 2, pruned = 0, squares = 0;
  for (let block = 0; block < desk.data.of.length; block++) {
    for (const site of SITES) {
      const ratio = effectiveRatio(desk, site, block, now[site][block]);
      const effect = effectAt(desk, site, block, ratio);
      if (effect === null) return { beyond: `block ${block}, ${site}` };
      const [delta, below, above] = effect.figures;
      if (ratio > 0) pruned++;
      squares += delta ** 2;
      sum += delta;
      down += (delta - below) ** 2;
      up += (above - delta) ** 2;
    }
  }
  const learned = desk.data.interaction;
  if (learned && pruned > 1) {
    const lost = value - sum, joint = lost > 0 ? Math.max(0, (lost ** 2 - squares) / 2) : 0, unseen = learned.unseen * (1 + joint);
    sum += learned.weight * Math.min(joint, learned.most);
    down += unseen ** 2;
    up += unseen ** 2;
  }
  const percent = (figure) => Math.min(100, Math.max(0, figure));
  return { value: percent(sum), low: percent(sum - Math.sqrt(down)), high: percent(sum + Math.sqrt(up)), change: sum - value };
}

// ---------- words, as dashboard/wording.py writes them

function signed(value, digits) {
  const text = Math.abs(value).toFixed(digits);
  return Number(text) === 0 ? text : `${value < 0 ? MINUS : "+"}${text}`;
}

function decimals(low, high) {
  const half = (high - low) / 2;
  return !Number.isFinite(half) || half >= 1 ? 0 : Math.min(3, Math.ceil(-Math.log10(Math.max(half, 1e-3))));
}

const percent = (ratio) => `${Number((100 * ratio).toFixed(2))} %`;

function effectWords(desk, effect) {
  if (!desk.data.curves || effect === null) return ["not measured", ""];
  const [delta, low, high] = effect.figures;
  if (effect.figures.every((figure) => figure === 0)) return ["keeps everything", ""];
  const digits = decimals(low, high);
  const verdict = low <= 0 && high >= 0 ? "; cannot tell apart from the baseline" : "";
  const band = `95 %: ${signed(low, digits)} to ${signed(high, digits)}${verdict}`;
  if (effect.measured) return [`measured ${signed(delta, digits)} points`, band];
  return [`about ${signed(delta, digits)} points`, `${band}; between those measured at ${percent(effect.between[0])} and ${percent(effect.between[1])}`];
}

function stopWords(desk, site, block, bar) {
  return `${percent(bar.ratio)} dropped, keeps ${bar.kept} of ${widthOf(desk, site, block)}`;
}

// ---------- colours

function colour(delta) {
  const loss = Math.max(0, -delta);
  const right = SCALE.findIndex(([points]) => points >= loss);
  if (right === 0) return rgb(SCALE[0][1]);
  if (right < 0) return rgb(SCALE[SCALE.length - 1][1]);
  const [[a, from], [b, to]] = [SCALE[right - 1], SCALE[right]];
  return rgb(from.map((part, i) => part + ((loss - a) / (b - a)) * (to[i] - part)));
}

const rgb = (parts) => `rgb(${parts.map(Math.round).join(", ")})`;

const effectColour = (desk, effect) => (!desk.data.curves || effect === null ? NEUTRAL : colour(effect.figures[0]));

function heat(desk, site, block) {
  const points = desk.data.curves?.[site]?.[block] ?? [];
  if (!points.length) return null;
  const last = points[points.length - 1][0], parts = [];
  for (let ratio = 0; ratio < last; ratio += 0.05) parts.push(`${colour(effectAt(desk, site, block, ratio).figures[0])} ${100 * ratio}%`);
  parts.push(`${colour(points[points.length - 1][1])} ${100 * last}%`, `${NEUTRAL} ${100 * last}%`);
  return `linear-gradient(to top, ${parts.join(", ")})`;
}

// ---------- building

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function build(desk, form) {
  desk.built = form;
  desk.now = desk.heated = null;
  desk.root.replaceChildren();
  buildTotals(desk);
  buildSites(desk);
  buildInspector(desk);
  desk.parts.live = element("div", "unseen");
  desk.parts.live.setAttribute("aria-live", "polite");
  desk.root.append(desk.parts.live);
  desk.root.onkeydown = (event) => onDeskKey(desk, event);
  desk.root.onfocusout = () => desk.timer && !desk.drag && sendEdit(desk);
}

function buildTotals(desk) {
  const totals = element("div", "totals");
  for (const [name, title, badge] of [
    ["macs", "GMACs per image", "computed"], ["params", "Parameters", "computed"], ["latency", "Latency", "predicted"],
    ["top1", "Top-1", "predicted"],
  ]) {
    const total = element("div", `total ${name}`);
    const heading = element("div", "title", `${title} `);
    heading.append(element("span", `badge ${badge}`, badge));
    const figure = element("div", "figure"), note = element("div", "note");
    total.append(heading, figure, note);
    totals.append(total);
    desk.parts[name] = { total, figure, note };
  }
  const legend = element("div", "legend");
  legend.append(element("div", "title", "Points of top-1 lost by a block alone"));
  const strip = element("div", "strip");
  strip.style.background = `linear-gradient(to right, ${SCALE.map(([, parts]) => rgb(parts)).join(", ")})`;
  const ticks = element("div", "ticks");
  SCALE.forEach(([points]) => ticks.append(element("span", "", points)));
  legend.append(strip, ticks);
  desk.parts.legend = legend;
  totals.append(legend);
  desk.root.append(totals);
}

function buildSites(desk) {
  const scroller = element("div", "scroller"), sites = element("div", "sites"), blocks = desk.data.of.length;
  sites.style.setProperty("--blocks", blocks);
  desk.parts.links = {};
  PAIRS.forEach((pair, row) => {
    const name = pair.join("+"), button = element("button", "link");
    button.type = "button";
    button.innerHTML = ICONS.link;
    button.title = `Move ${pair.join(" and ")} together`;
    button.setAttribute("aria-label", `Link ${pair.join(" and ")}`);
    button.style.gridRow = `${2 * row + 1} / span 2`;
    button.onclick = () => toggleLink(desk, name);
    desk.parts.links[name] = button;
    sites.append(button);
  });
  SITES.forEach((site, index) => {
    const head = element("div", "head");
    head.append(element("b", "", site), element("span", "", ABOUT[site]));
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
  const cell = element("div", startsStage(desk, block) ? "cell stage" : "cell"), label = element("span", "label"), track = element("div", "track");
  const parts = Object.fromEntries(["heat", "fill", "below", "above", "ghost", "reach", "thumb"].map((name) => [name, element("i", name)]));
  track.append(...Object.values(parts));
  track.setAttribute("role", "slider");
  track.setAttribute("aria-orientation", "vertical");
  track.setAttribute("aria-label", `block ${block}, ${site}`);
  track.dataset.site = site;
  track.dataset.block = block;
  track.onpointerdown = (event) => onDown(desk, site, block, event);
  track.onpointermove = (event) => onMove(desk, site, block, event);
  track.onpointerup = (event) => onUp(desk, event);
  track.onpointercancel = () => onCancel(desk);
  track.onpointerleave = () => { desk.hovered = null; paintHover(desk, site, block, null); paintInspector(desk); };
  track.onfocus = () => select(desk, site, block);
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
  const keys = element("div", "keys", "Drag, or \u2191 \u2193 by a point (Shift: by a stop, Page: by ten) \u00b7 \u2190 \u2192 next block \u00b7 double-click or L locks \u00b7 [ and ] set the range \u00b7 Ctrl+Z undoes");
  desk.parts.inspector = { swatch, place, stop, effect, band, buttons };
  desk.root.append(inspector, keys);
}

// ---------- painting

function paintAll(desk) {
  const curves = JSON.stringify(desk.data.curves);
  for (const site of SITES) {
    desk.bars[site].forEach((bar, block) => {
      if (curves !== desk.heated) paintHeat(desk, site, block);
      paintBar(desk, site, block);
    });
  }
  desk.heated = curves;
  desk.parts.legend.hidden = !desk.data.curves;
  paintLinks(desk);
  paintTotals(desk);
  paintInspector(desk);
}

function paintHeat(desk, site, block) {
  const bar = desk.bars[site][block], background = heat(desk, site, block);
  bar.heat.style.background = bar.fill.style.background = background ?? NEUTRAL;
  bar.track.classList.toggle("unmeasured", background === null);
}

function paintBar(desk, site, block) {
  const bar = desk.bars[site][block], now = desk.now[site][block], limit = limitOf(desk, site, block), { track } = bar;
  const stops = stopsOf(desk, site, block), effect = effectAt(desk, site, block, effectiveRatio(desk, site, block, now));
  const last = stops[stops.length - 1][0];
  bar.fill.style.clipPath = `inset(${100 - 100 * now.ratio}% 0 0 0)`;
  bar.thumb.style.bottom = `${100 * now.ratio}%`;
  bar.below.style.height = `${100 * limit.low}%`;
  bar.above.style.height = `${100 - 100 * Math.min(1, limit.high)}%`;
  const ghost = desk.data.ghost?.ratios[site][block];
  bar.ghost.hidden = ghost === undefined;
  if (ghost !== undefined) bar.ghost.style.bottom = `${100 * ghost}%`;
  bar.cell.classList.toggle("whole", now.ratio === 0);
  track.classList.toggle("locked", limit.locked);
  bar.label.innerHTML = limit.locked ? ICONS.lock : "";
  bar.label.append(String(Math.round(100 * now.ratio)));
  const range = limit.low > 0 || limit.high < 1 ? `, range ${percent(limit.low)} to ${percent(Math.min(limit.high, last))}` : "";
  track.tabIndex = desk.tabStops[site] === block ? 0 : -1;
  track.setAttribute("aria-valuemin", Number((100 * limit.low).toFixed(2)));
  track.setAttribute("aria-valuemax", Number((100 * Math.min(limit.high, last)).toFixed(2)));
  track.setAttribute("aria-valuenow", Number((100 * now.ratio).toFixed(2)));
  track.setAttribute("aria-readonly", limit.locked);
  track.setAttribute(
    "aria-valuetext",
    `block ${block}, ${site}, ${stopWords(desk, site, block, now)}, ${effectWords(desk, effect)[0]}${range}${limit.locked ? ", locked" : ""}`,
  );
}

function paintLinks(desk) {
  for (const [name, button] of Object.entries(desk.parts.links)) button.setAttribute("aria-pressed", desk.linked.has(name));
}

// Counted here while a bar moves, and by the server as soon as it has answered.
function paintTotals(desk) {
  const { data, parts } = desk, cost = desk.counted ?? costOf(desk, desk.now), compared = data.ghost && costOf(desk, kept(desk, data.ghost));
  for (const [name, scale, unit] of [["macs", 1e9, ""], ["params", 1e6, " M"]]) {
    const words = (count) => `${(count / scale).toPrecision(3)}${unit}`;
    const change = (before) => `${signed((100 * (cost[name] - before)) / before, 0)} %`;
    parts[name].figure.textContent = words(cost[name]);
    parts[name].total.dataset.exact = cost[name];
    parts[name].total.dataset.counted = desk.counted ? "server" : "browser";
    const against = `${change(data.baseline[name])} against ${words(data.baseline[name])}`;
    parts[name].note.textContent = compared ? `${against}\n${change(compared[name])} against the marks` : against;
  }
  paintLatency(desk);
  paintPrediction(desk);
}

function paintLatency(desk) {
  const { data: { latency, latency_missing: missing }, parts: { latency: { total, figure, note } } } = desk;
  total.classList.toggle("missing", !latency);
  delete total.dataset.exact;
  figure.textContent = "";
  note.textContent = missing ?? "";
  if (!latency) return;
  const found = millisecondsOf(desk, desk.now), change = signed((100 * (found - latency.baseline_ms)) / latency.baseline_ms, 0);
  total.dataset.exact = found;
  figure.textContent = `${found.toPrecision(3)} ms`;
  note.textContent = `${change} % against ${latency.baseline_ms.toPrecision(3)} ms\n${latency.note}`;
}

const kept = (desk, ghost) => Object.fromEntries(
  SITES.map((site) => [site, ghost.ratios[site].map((ratio, block) => ({ ratio, kept: ghost.kept[site][block] }))]),
);

function paintPrediction(desk) {
  const { data, parts: { top1: { total, figure, note } } } = desk;
  total.classList.toggle("missing", !data.curves);
  delete total.dataset.exact;
  if (!data.curves) {
    figure.textContent = "";
    note.textContent = data.missing;
    return;
  }
  const found = predict(desk, desk.now);
  if (found.beyond) {
    figure.textContent = "\u2013";
    note.textContent = `not predicted: ${found.beyond} is set beyond what was measured`;
    return;
  }
  const digits = decimals(found.low, found.high);
  figure.textContent = `${found.value.toFixed(digits)} %`;
  total.dataset.exact = JSON.stringify([found.value, found.low, found.high]);
  note.textContent = `95 %: ${found.low.toFixed(digits)} to ${found.high.toFixed(digits)} %, ${signed(found.change, digits)} points\n${data.curves_note}`;
}

function paintInspector(desk) {
  const { swatch, place, stop, effect, band, buttons } = desk.parts.inspector;
  const [site, block] = desk.hovered ?? desk.selected;
  const bar = desk.hovered ? { ratio: desk.hovered[2][0], kept: desk.hovered[2][1] } : desk.now[site][block];
  const found = effectAt(desk, site, block, effectiveRatio(desk, site, block, bar)), [words, more] = effectWords(desk, found);
  swatch.style.background = effectColour(desk, found);
  place.textContent = `Block ${block}, ${site}`;
  stop.textContent = stopWords(desk, site, block, bar);
  effect.textContent = words;
  band.textContent = more;
  const [name, index] = desk.selected, limit = limitOf(desk, name, index), at = percent(desk.now[name][index].ratio);
  buttons.lock.textContent = `${limit.locked ? "Unlock" : "Lock"} ${index} ${name}`;
  buttons.low.textContent = `At least ${at}`;
  buttons.high.textContent = `At most ${at}`;
  buttons.free.textContent = "No limits";
  buttons.free.disabled = !desk.limits.has(`${name} ${index}`);
}

function paintHover(desk, site, block, ratio) {
  const { reach } = desk.bars[site][block];
  reach.hidden = ratio === null;
  if (ratio !== null) reach.style.bottom = `${100 * ratio}%`;
}

// ---------- hands

function select(desk, site, block) {
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

function onDown(desk, site, block, event) {
  if (event.button !== 0) return;
  const { track } = desk.bars[site][block];
  track.focus({ preventScroll: true });
  const { last } = desk;
  desk.last = { site, block, time: event.timeStamp, y: event.clientY, before: structuredClone(desk.now) };
  const again = last && last.site === site && last.block === block && event.timeStamp - last.time < DOUBLE_MS;
  if (again && Math.abs(event.clientY - last.y) < DOUBLE_PX) {
    clearTimeout(desk.timer);
    desk.timer = 0;
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
  clearTimeout(desk.timer);
  desk.timer = 0;
  track.setPointerCapture(event.pointerId);
  desk.drag = { site, block, y: event.clientY, moved: false };
  desk.hovered = null;
  paintHover(desk, site, block, null);
  set(desk, site, block, stopUnder(desk, site, block, event));
}

function onMove(desk, site, block, event) {
  if (desk.drag) {
    if (Math.abs(event.clientY - desk.drag.y) > DRAG_PX) desk.drag.moved = true;
    if (desk.drag.moved) set(desk, desk.drag.site, desk.drag.block, stopUnder(desk, desk.drag.site, desk.drag.block, event));
    return;
  }
  if (event.pointerType === "touch") return;
  const stop = stopUnder(desk, site, block, event);
  if (stop === null) return;
  desk.hovered = [site, block, stop];
  paintHover(desk, site, block, stop[0]);
  paintInspector(desk);
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
function onWheel(desk, site, block, event) {
  if (desk.root.getRootNode().activeElement !== desk.bars[site][block].track || !event.deltaY) return;
  event.preventDefault();
  step(desk, site, block, -Math.sign(event.deltaY), event.shiftKey);
}

function onBarKey(desk, site, block, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const stops = stopsOf(desk, site, block), row = desk.bars[site];
  const go = (next) => row[Math.min(row.length - 1, Math.max(0, next))].track.focus();
  const to = (ratio) => { if (set(desk, site, block, nearest(desk, site, block, ratio))) sendWhenSettled(desk); };
  const here = desk.now[site][block].ratio;
  const does = {
    ArrowUp: () => step(desk, site, block, 1, event.shiftKey), ArrowDown: () => step(desk, site, block, -1, event.shiftKey),
    PageUp: () => step(desk, site, block, 10, false), PageDown: () => step(desk, site, block, -10, false),
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

function onDeskKey(desk, event) {
  if (!event.ctrlKey && !event.metaKey) return;
  const key = event.key.toLowerCase();
  if (key !== "z" && key !== "y") return;
  event.preventDefault();
  event.stopPropagation();
  sendStep(desk, key === "y" || event.shiftKey ? "redo" : "undo");
}
