"use strict";
// The ladder: as many rows as fit are in the document at a time.
const ROW = 24, TIME = 92, WHY = 142;
const ladder = { rows: [], lanes: [], numbers: false, shown: new Map(), pause: 0 };
const NAMES_MAX = 3; // above a lane that hosts share

const byId = (id) => document.getElementById(id);

function element(kind, className, text) {
  const one = document.createElement(kind);
  if (className) one.className = className;
  if (text !== undefined) one.textContent = text;
  return one;
}

function svg(kind, attributes) {
  const one = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
  return one;
}

const laneOf = (host) => Math.max(ladder.lanes.findIndex((hosts) => hosts.includes(host)), 0);

function placeX(lane, width) {
  const count = ladder.lanes.length, inner = width - TIME - (width < 600 ? 0 : WHY) - 60;
  return TIME + 30 + (count > 1 ? (inner * lane) / (count - 1) : inner / 2);
}

const laneX = (host, width) => placeX(laneOf(host), width);

// Of one connection, the lanes of those of whom there is something to tell.
function lanesOf(rows) {
  if (view.flow < 0) return D.lanes;
  const seen = new Set();
  for (const [kind, n] of rows) {
    if (kind === "p") { seen.add(D.p.from[n]); seen.add(D.p.to[n]); } else if (kind !== "g") seen.add(D[kind][n][1]);
  }
  const found = D.lanes.map((hosts) => hosts.filter((host) => seen.has(host))).filter((hosts) => hosts.length);
  return found.length > 1 ? found : D.lanes;
}

const nameOf = (host) => (D.hosts[host] === D.here ? `${D.hosts[host]} ${say("(here)", "（本机）")}` : D.hosts[host]);

function laneLabel(hosts) {
  const names = hosts.map(nameOf), label = element("span");
  const shown = names.length <= NAMES_MAX ? names : [...names.slice(0, NAMES_MAX - 1), say(`and ${names.length - NAMES_MAX + 1} more`, `以及另外 ${names.length - NAMES_MAX + 1} 个`)];
  label.append(...shown.map((name) => element("div", "", name)));
  label.title = names.join("\n");
  return label;
}

function layoutLadder() {
  ladder.rows = rowsOf(view.flow, view.find);
  ladder.lanes = lanesOf(view.find ? rowsOf(view.flow, "") : ladder.rows);
  ladder.numbers = view.flow < 0 && flowsSeen().size > 1;
  const [first, last] = moments();
  ladder.pause = Math.max((last - first) / 25, 0.01);
  byId("all").style.height = `${ladder.rows.length * ROW}px`;
  byId("found").textContent = view.find ? `${ladder.rows.length} / ${D.order.length}` : "";
  const lanes = byId("lanes"), width = byId("rows").clientWidth;
  lanes.replaceChildren();
  ladder.lanes.forEach((hosts, lane) => {
    const label = laneLabel(hosts);
    label.style.left = `${placeX(lane, width)}px`;
    lanes.append(label);
  });
  lanes.style.height = `${Math.max(1, ...ladder.lanes.map((hosts) => Math.min(hosts.length, NAMES_MAX))) * 18 + 9}px`;
  for (const row of ladder.shown.values()) row.remove();
  ladder.shown.clear();
  showRows();
}

function showRows() {
  const box = byId("rows"), all = byId("all");
  const first = Math.max(Math.floor(box.scrollTop / ROW) - 10, 0);
  const last = Math.min(Math.ceil((box.scrollTop + box.clientHeight) / ROW) + 10, ladder.rows.length);
  for (const [n, row] of ladder.shown) if (n < first || n >= last) { row.remove(); ladder.shown.delete(n); }
  const width = box.clientWidth;
  for (let n = first; n < last; n++) {
    if (ladder.shown.has(n)) continue;
    const row = rowElement(n, width);
    ladder.shown.set(n, row);
    all.append(row);
  }
}

const isChosen = (row) => view.chosen !== null && row[0] === view.chosen[0] && row[1] === view.chosen[1];

function rowElement(n, width) {
  const [kind, index] = ladder.rows[n];
  const row = element("div", `row ${kind}`);
  row.id = `row-${n}`;
  row.setAttribute("role", "option");
  row.setAttribute("aria-posinset", n + 1);
  row.setAttribute("aria-setsize", ladder.rows.length);
  row.style.top = `${n * ROW}px`;
  const drawing = svg("svg", { "aria-hidden": "true" });
  ladder.lanes.forEach((_, lane) => {
    const x = placeX(lane, width);
    drawing.append(svg("line", { x1: x, x2: x, y1: 0, y2: ROW, stroke: "var(--lane)", "stroke-width": 1.5 }));
  });
  const at = momentOf(ladder.rows[n]), time = element("span", "time", at.toFixed(digits()));
  if (n) {
    const since = at - momentOf(ladder.rows[n - 1]);
    time.title = `+${since.toFixed(6)} s`;
    if (since >= ladder.pause) row.classList.add("pause");
  }
  row.append(drawing, time);
  const flow = kind === "p" ? D.p.flow[index] : kind === "s" ? D.s[index][2] : -1;
  if (ladder.numbers && flow >= 0) {
    const number = element("span", "of", String(flow + 1));
    number.title = D.flows[flow].ends;
    row.append(number);
  }
  if (kind === "p") segmentRow(row, drawing, segment(index), width);
  else if (kind === "s") {
    const [, host, , , state, error] = D.s[index];
    const chip = element("span", error ? "chip error" : "chip", error ? `${state} · ${error}` : state);
    atLane(chip, laneX(host, width), host, width);
    row.append(chip);
  } else if (kind === "a") {
    const [, host, text] = D.a[index];
    const said = element("span", "said", spoken(text));
    atLane(said, laneX(host, width), host, width);
    row.append(said);
  } else if (kind === "g") {
    const count = D.g[index][2];
    row.append(element("div", "gap", say(`… ${count} segments not shown …`, `…… ${count} 个报文段未显示 ……`)));
  } else {
    const until = D.f[index][3];
    const band = element("div", "fault");
    const end = until === null ? "" : ` … ${until.toFixed(digits())}`;
    band.append(element("span", "", faultText(D.f[index]) + end));
    row.append(band);
  }
  row.addEventListener("click", () => choose([kind, index], "ladder"));
  markRow(row, isChosen(ladder.rows[n]));
  return row;
}

function markRow(row, chosen) {
  row.classList.toggle("chosen", chosen);
  row.setAttribute("aria-selected", chosen);
  if (chosen) byId("rows").setAttribute("aria-activedescendant", row.id);
}

// To the right of its lane; at the last one, to its left.
function atLane(one, x, host, width) {
  if (laneOf(host) > 0 && laneOf(host) === ladder.lanes.length - 1) one.style.right = `${width - x + 9}px`;
  else one.style.left = `${x + 9}px`;
}

const toldOf = (s) => [s.why, s.fate && s.fate !== "underway" ? fateOf(s.fate) : "", s.drop && `${say("dropped", "丢弃")}: ${s.drop}`].filter(Boolean).join(", ");

function segmentRow(row, drawing, s, width) {
  const from = laneX(s.from, width), to = laneX(s.to, width), way = Math.sign(to - from) || 1;
  const lost = LOST.has(s.fate), kind = lost ? "lost" : s.again || s.fate === "late" || s.fate === "duplicated" ? "again" : "seg";
  const colour = `var(--${kind})`, end = lost ? to - way * 26 : to, y = ROW / 2;
  drawing.append(svg("line", { x1: from, x2: end, y1: y, y2: y, stroke: colour, "stroke-width": 1.4, "stroke-dasharray": lost ? "4 3" : "none" }));
  if (lost) drawing.append(svg("path", { d: `M${end - 5} ${y - 5}L${end + 5} ${y + 5}M${end - 5} ${y + 5}L${end + 5} ${y - 5}`, stroke: colour, "stroke-width": 2 }));
  else drawing.append(svg("path", { d: `M${to} ${y}l${-way * 8} -4v8z`, fill: colour }));
  const room = Math.max(Math.abs(end - from) - 36, 30), words = element("span", `words ${kind}`, wordsOf(s, (room - 10) / 6.95));
  words.style.left = `${(from + end) / 2}px`;
  words.style.maxWidth = `${room}px`;
  const told = toldOf(s), known = D.explain.why[s.why];
  const why = element("span", s.drop || lost ? "why bad" : "why", told);
  why.title = known ? `${told}\n${known[view.language]}` : told;
  words.title = wordsOf(s);
  row.append(words, why);
}

const placeOf = (chosen) => ladder.rows.findIndex((row) => chosen && row[0] === chosen[0] && row[1] === chosen[1]);

function scrollToChosen() {
  const place = placeOf(view.chosen), box = byId("rows");
  if (place < 0) return;
  const top = place * ROW;
  if (top < box.scrollTop + ROW || top > box.scrollTop + box.clientHeight - 2 * ROW) box.scrollTop = top - box.clientHeight / 2;
  showRows();
}

function markRows() {
  byId("rows").removeAttribute("aria-activedescendant");
  for (const [n, row] of ladder.shown) markRow(row, isChosen(ladder.rows[n]));
}

// The next or the previous row of the ladder for which `wanted` holds.
function step(by, wanted = () => true) {
  let place = view.chosen ? placeOf(view.chosen) : by > 0 ? -1 : ladder.rows.length;
  if (view.chosen && place < 0) place = by > 0 ? -1 : ladder.rows.length;
  do place += by; while (place >= 0 && place < ladder.rows.length && !wanted(ladder.rows[place]));
  if (place >= 0 && place < ladder.rows.length) choose(ladder.rows[place], "keys");
}

// What one looks for first: losses, repetitions, resets, discards, errors, faults.
function troubled([kind, n]) {
  if (kind === "f") return true;
  if (kind === "s") return Boolean(D.s[n][5]);
  if (kind !== "p") return false;
  const s = segment(n);
  return LOST.has(s.fate) || Boolean(s.again) || Boolean(s.drop) || s.flags.includes("RST");
}
