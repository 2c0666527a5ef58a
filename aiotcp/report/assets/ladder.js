"use strict";
// The ladder: as many rows as fit are in the document at a time.
const ROW = 24, TIME = 88, WHY = 142;
const ladder = { rows: [], shown: new Map() };

function element(kind, className, text) {
  const made = document.createElement(kind);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function laneX(host, width) {
  const count = D.hosts.length, inner = width - TIME - WHY - 60;
  return TIME + 30 + (count > 1 ? (inner * host) / (count - 1) : inner / 2);
}

function layoutLadder() {
  ladder.rows = rowsOf(view.flow);
  document.getElementById("all").style.height = `${ladder.rows.length * ROW}px`;
  const lanes = document.getElementById("lanes");
  lanes.replaceChildren();
  const width = document.getElementById("rows").clientWidth;
  D.hosts.forEach((name, host) => {
    const label = element("span", "", name);
    label.style.left = `${laneX(host, width)}px`;
    lanes.append(label);
  });
  for (const row of ladder.shown.values()) row.remove();
  ladder.shown.clear();
  showRows();
}

function showRows() {
  const box = document.getElementById("rows"), all = document.getElementById("all");
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

function svg(kind, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function rowElement(n, width) {
  const [kind, index] = ladder.rows[n];
  const row = element("div", `row ${kind}`);
  row.style.top = `${n * ROW}px`;
  const drawing = svg("svg", {});
  D.hosts.forEach((_, host) => {
    const x = laneX(host, width);
    drawing.append(svg("line", { x1: x, x2: x, y1: 0, y2: ROW, stroke: "var(--line)", "stroke-width": 1.5 }));
  });
  row.append(drawing);
  if (kind === "p") segmentRow(row, drawing, segment(index), width);
  else if (kind === "s") {
    const [at, host, , , state, error] = D.s[index];
    const chip = element("span", "chip", error ? `${state} · ${error}` : state);
    atLane(chip, laneX(host, width), host, width);
    row.append(timeOf(at), chip);
  } else if (kind === "a") {
    const [at, host, text] = D.a[index];
    const said = element("span", "said", text);
    atLane(said, laneX(host, width), host, width);
    row.append(timeOf(at), said);
  } else {
    const [at, host, text] = D.f[index];
    const band = element("div", "fault");
    band.append(element("span", "", host < 0 ? text : `${D.hosts[host]}: ${text}`));
    row.append(timeOf(at), band);
  }
  if (kind === "p" && index === view.chosen) row.classList.add("chosen");
  return row;
}

const timeOf = (at) => element("span", "time", at.toFixed(3));

// To the right of its lane; at the last one, to its left.
function atLane(made, x, host, width) {
  if (host > 0 && host === D.hosts.length - 1) made.style.right = `${width - x + 9}px`;
  else made.style.left = `${x + 9}px`;
}

function segmentRow(row, drawing, s, width) {
  const from = laneX(s.from, width), to = laneX(s.to, width), way = Math.sign(to - from) || 1;
  const lost = LOST.has(s.fate);
  const colour = lost ? "var(--lost)" : s.again ? "var(--again)" : "var(--seg)";
  const end = lost ? to - way * 26 : to, y = ROW / 2;
  drawing.append(svg("line", { x1: from, x2: end, y1: y, y2: y, stroke: colour, "stroke-width": 1.4, "stroke-dasharray": lost ? "4 3" : "none" }));
  if (lost) {
    drawing.append(svg("path", { d: `M${end - 5} ${y - 5}L${end + 5} ${y + 5}M${end - 5} ${y + 5}L${end + 5} ${y - 5}`, stroke: colour, "stroke-width": 2 }));
  } else {
    drawing.append(svg("path", { d: `M${to} ${y}l${-way * 8} -4v8z`, fill: colour }));
  }
  const words = element("span", `words ${lost ? "lost" : s.again ? "again" : "seg"}`, wordsOf(s));
  words.style.left = `${(from + to) / 2}px`;
  words.style.maxWidth = `${Math.abs(to - from) - 50}px`;
  const told = [s.why, s.fate && s.fate !== "underway" ? s.fate : "", s.drop].filter(Boolean).join(", ");
  const why = element("span", "why", told);
  why.title = told;
  row.append(timeOf(s.at), words, why);
  row.addEventListener("click", () => choose(s.n, false));
}

function scrollTo(n) {
  const place = ladder.rows.findIndex(([kind, index]) => kind === "p" && index === n);
  const box = document.getElementById("rows");
  if (place < 0) return;
  const top = place * ROW;
  if (top < box.scrollTop || top > box.scrollTop + box.clientHeight - ROW) box.scrollTop = top - box.clientHeight / 2;
  showRows();
}

function markRows() {
  for (const [n, row] of ladder.shown) {
    const [kind, index] = ladder.rows[n];
    row.classList.toggle("chosen", kind === "p" && index === view.chosen);
  }
}

// The next or the previous segment of the ladder.
function step(by) {
  let place = ladder.rows.findIndex(([kind, index]) => kind === "p" && index === view.chosen);
  do place += by; while (place >= 0 && place < ladder.rows.length && ladder.rows[place][0] !== "p");
  if (place >= 0 && place < ladder.rows.length) choose(ladder.rows[place][1], true);
}
