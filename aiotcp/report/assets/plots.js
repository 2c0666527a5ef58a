"use strict";
// The plots: axes, zoom and cursor are uPlot's. They are made once and told of new data.
const plots = {};
const AXIS = 76, SAMPLED = ["cwnd", "ssthresh", "flight", "rcv"];

const bytes = (v) => (Math.abs(v) >= 1e6 ? `${+(v / 1e6).toFixed(2)} MB` : Math.abs(v) >= 1e4 ? `${+(v / 1e3).toFixed(1)} kB` : `${+v.toFixed(0)}`);
const millis = (v) => (v >= 1000 ? `${+(v / 1000).toFixed(2)} s` : v >= 1 ? `${+v.toFixed(1)} ms` : `${+(v * 1000).toFixed(1)} µs`);

// 1, 2, 2.5 and 5 of each power of ten; of bytes there are whole ones, and from zero up.
const STEPS = [1, 2, 5, ...Array.from({ length: 14 }, (_, n) => [1, 2, 2.5, 5].map((digit) => digit * 10 ** (n + 1))).flat()];
const WHOLE = { incrs: STEPS, filter: (_, splits) => splits.map((v) => (v < 0 ? null : v)) };

function axes(format, y = {}) {
  const common = () => ({
    stroke: () => colour("soft"), font: `11px ${FONT}`,
    grid: { stroke: () => colour("grid"), width: 1 }, ticks: { stroke: () => colour("grid"), width: 1, size: 5 },
  });
  return [
    { ...common(), size: 26, gap: 3, values: (_, values) => values.map((v) => `${+v.toFixed(6)} s`) },
    { ...common(), size: AXIS, values: (_, values) => values.map((v) => (v === null ? "" : format(v))), ...y },
  ];
}

// 1, 2 and 5 of each power of ten, or as many as there is room for.
function logSplits(u) {
  const { min, max } = u.scales.y, wide = u.bbox.height / devicePixelRatio < 48 * Math.log10(max / min);
  const found = [];
  for (let power = Math.floor(Math.log10(min)); 10 ** power <= max; power++) {
    for (const digit of wide ? [1] : [1, 2, 5]) { const v = digit * 10 ** power; if (v >= min && v <= max) found.push(v); }
  }
  return found;
}

const line = (name) => ({
  stroke: () => colour(name), width: 1.6, paths: uPlot.paths.stepped({ align: 1 }), show: isOn(name), spanGaps: false,
  points: { show: (u) => u.data[0].length < 60, size: 4, fill: () => colour(name) },
});

function plot(id, height, series, { draw = [], under = [], y, format, axis }) {
  const place = byId(`plot-${id}`);
  const zoomed = (u) => {
    if (u.select.width < 5) return;
    zoomTo([u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")]);
    u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  };
  const u = new uPlot({
    width: place.clientWidth, height, legend: { show: false },
    cursor: {
      sync: { key: "time", scales: ["x", null] }, drag: { x: true, y: false, setScale: false }, points: { show: false }, y: false,
      bind: { dblclick: () => () => zoomTo(null) },
    },
    scales: { x: { time: false }, y }, axes: axes(format, axis), series: [{}, ...series],
    hooks: { setSelect: [zoomed], drawAxes: [drawFaults, ...under], draw: [...draw, drawBlank, drawChosen] },
  }, [[0, 1], ...series.map(() => [null, null])], place);
  u.id = id; u.usual = height;
  u.over.setAttribute("role", "img");
  u.over.addEventListener("mousemove", (event) => showTip(u, event));
  u.over.addEventListener("mouseleave", hideTip);
  u.over.addEventListener("click", (event) => clicked(u, event));
  plots[id] = u;
}

function makePlots() {
  readPalette();
  plot("seq", 310, [{ stroke: "transparent", points: { show: false } }], { draw: [drawSequence], y: { range: sequenceRange }, format: bytes, axis: WHOLE });
  plot("win", 180, SAMPLED.map(line), { y: { range: windowRange }, format: bytes, axis: WHOLE });
  plot("rtt", 150, ["srtt", "rto"].map(line), { under: [drawTrips], y: { distr: 3, log: 10, range: tripRange }, format: millis, axis: { splits: logSplits, filter: (_, splits) => splits } });
  const names = () => { const chosen = plotted(); return chosen ? [D.hosts[chosen.receiver], D.hosts[chosen.sender]] : ["", ""]; };
  plot("states", 100, [{ stroke: "transparent", points: { show: false } }], {
    draw: [drawStates], y: { range: () => [0, 2] }, format: String,
    axis: { grid: { show: false }, ticks: { show: false }, splits: () => [0.5, 1.5], values: () => names().map((name) => (name.length <= 13 ? name : /:\d+$/.test(name) ? `…${name.slice(-11)}` : `${name.slice(0, 12)}…`)) },
  });
}

// -- what is in sight ---------------------------------------------------------------------------

function sequenceRange() {
  const found = sequence();
  let low = Infinity, high = -Infinity;
  for (const one of inSight(found.data, (d) => d.at)) { low = Math.min(low, one.low); high = Math.max(high, one.high); }
  for (const [, ack] of inSight(found.acks, (a) => a[0])) { low = Math.min(low, ack); high = Math.max(high, ack); }
  if (low > high) return [0, 1];
  // The window, too, as far as it does not make all else small.
  const top = high;
  if (isOn("wnd")) for (const [, edge] of inSight(found.edges, (e) => e[0])) if (edge - low <= (top - low) * 1.5) high = Math.max(high, edge);
  const room = Math.max((high - low) * 0.07, 8);
  return [view.zoom || low > 1 ? low - room : low - room * 0.8, high + room * 1.5];
}

function windowRange(u) {
  const [min, max] = view.zoom || extent();
  let high = 0;
  u.data.slice(1).forEach((column, n) => {
    if (!u.series[n + 1].show) return;
    let before = null;
    for (let at = 0; at < column.length && u.data[0][at] <= max; at++) {
      if (u.data[0][at] < min) before = column[at];
      else high = Math.max(high, column[at] || 0, before || 0);
    }
    high = Math.max(high, before || 0);
  });
  return [0, high * 1.08 || 1000];
}

function tripRange(u) {
  let low = Infinity, high = 0;
  const see = (v) => { if (v) { low = Math.min(low, v); high = Math.max(high, v); } };
  u.data.slice(1).forEach((column, n) => { if (u.series[n + 1].show) for (const v of column) see(v); });
  if (isOn("trip")) for (const [, took] of sequence().trips) see(took * 1000);
  return low > high ? [1, 1000] : [Math.max(low / 1.3, 1e-4), Math.max(high, low * 2) * 1.3];
}

function extent() {
  const [first, last] = moments();
  return [first - (last - first) * 0.006, last + (last - first) * 0.012];
}

function zoomTo(wanted) {
  if (wanted) {
    const [first, last] = extent();
    const span = Math.min(Math.max(wanted[1] - wanted[0], 2e-6), last - first);
    const from = Math.min(Math.max(wanted[0], first), last - span);
    wanted = span >= (last - first) * 0.999 ? null : [from, from + span];
  }
  view.zoom = wanted;
  byId("whole").hidden = !view.zoom;
  showSpan();
}

function showSpan() {
  const [min, max] = view.zoom || extent();
  for (const u of Object.values(plots)) u.setScale("x", { min, max });
}

// By a factor about the middle, or by so much of what is in sight.
function zoomBy(factor) {
  const [from, until] = view.zoom || extent(), at = view.chosen ? momentOf(view.chosen) : (from + until) / 2;
  const middle = at > from && at < until ? at : (from + until) / 2, half = ((until - from) * factor) / 2;
  zoomTo([middle - half, middle + half]);
}
function panBy(share) {
  const [from, until] = view.zoom || extent(), by = (until - from) * share;
  if (view.zoom) zoomTo([from + by, until + by]);
}

// -- data -----------------------------------------------------------------------------------------

function windowData(chosen) {
  const found = chosen ? samplesOf(chosen.sender, chosen.flow) : [];
  if (found.length) {
    const column = (name) => found.map((n) => D.m[name][n]);
    return { at: found.map((n) => D.m.at[n]), cwnd: column("cwnd").map((v) => v || null), ssthresh: column("ssthresh"), flight: column("flight"), rcv: column("snd_wnd"), srtt: column("srtt").map((v) => v && v * 1000), rto: column("rto").map((v) => v * 1000) };
  }
  // From the packets alone: a capture of somebody else's, or the other side of one of ours.
  const { flight, edges } = sequence();
  const all = [...flight.map(([at, v]) => [at, v, undefined]), ...edges.map(([at, , win]) => [at, undefined, win])].sort((one, other) => one[0] - other[0]);
  const made = { at: [], cwnd: [], ssthresh: [], flight: [], rcv: [], srtt: [], rto: [] };
  let now = null, open = null;
  for (const [at, v, win] of all) {
    if (v !== undefined) now = v;
    if (win !== undefined) open = win;
    made.at.push(at); made.flight.push(now); made.rcv.push(open);
    for (const name of ["cwnd", "ssthresh", "srtt", "rto"]) made[name].push(null);
  }
  return made;
}

const most = (list) => list.reduce((high, v) => (v > high ? v : high), 0);

function fillPlots() {
  const chosen = plotted(), [first, last] = moments(), found = windowData(chosen);
  // A window that nobody comes near would make the rest flat.
  if (!view.decided.has("rcv")) view.off[most(found.rcv) > 4 * Math.max(most(found.cwnd), most(found.flight)) ? "add" : "delete"]("rcv");
  plots.seq.setData([[first, last], [0, 0]], false);
  plots.states.setData([[first, last], [0, 2]], false);
  const has = found.at.length > 0;
  plots.win.setData(has ? [found.at, ...SAMPLED.map((name) => found[name])] : [[first, last], ...SAMPLED.map(() => [null, null])], false);
  plots.rtt.setData(has ? [found.at, found.srtt, found.rto] : [[first, last], [null, null], [null, null]], false);
  const { data, acks, sacks, edges, trips } = sequence(), kinds = new Set(data.map(kindOf));
  const there = { seg: kinds.has("seg"), again: kinds.has("again"), lost: kinds.has("lost"), ack: acks.length, sack: sacks.length, wnd: edges.length };
  plots.seq.lacking = new Set(Object.keys(there).filter((name) => !there[name]));
  plots.win.lacking = new Set(SAMPLED.filter((name) => !found[name].some((v) => v !== null)));
  plots.rtt.lacking = new Set(["srtt", "rto"].filter((name) => !found[name].some((v) => v !== null)));
  if (!trips.length) plots.rtt.lacking.add("trip");
  plots.seq.blank = data.length || acks.length ? null : ["nothing was sent", "没有发送任何报文段"];
  plots.rtt.blank = plots.rtt.lacking.size < KEYS.rtt.length ? null : ["no round trip was measured", "没有测得往返时间"];
  plots.win.blank = plots.win.lacking.size < KEYS.win.length ? null : ["nothing is known of them", "未知"];
  SAMPLED.forEach((name, n) => { if (plots.win.series[n + 1].show !== isOn(name)) plots.win.setSeries(n + 1, { show: isOn(name) }); });
  byId("which").textContent = D.flows.length > 1 && chosen ? `${D.flows[chosen.flow].name} · ${say(`${D.hosts[chosen.sender]} sends`, `${D.hosts[chosen.sender]} 发送`)}` : "";
  showSpan();
  plots.states.redraw(false, true); // the names at its axis
  keys();
}

const redrawPlots = () => { for (const u of Object.values(plots)) u.redraw(false); };

// Beside the ladder they share its height, within reason; below it they have their own.
function sizePlots() {
  const box = byId("plots"), grow = ["seq", "win", "rtt"], sum = (list) => list.reduce((all, n) => all + n, 0);
  const usual = sum(grow.map((id) => plots[id].usual)), now = sum(grow.map((id) => plots[id].height));
  const last = box.lastElementChild, room = box.clientHeight - (last.offsetTop + last.offsetHeight + 14 - now);
  const by = innerWidth > 900 ? Math.min(Math.max(room / usual, 0.7), 2) : 1;
  for (const [id, u] of Object.entries(plots)) {
    const width = byId(`plot-${id}`).clientWidth, height = grow.includes(id) ? Math.floor(u.usual * by) : u.usual;
    if (width !== u.width || height !== u.height) u.setSize({ width, height });
  }
}

// -- keys -----------------------------------------------------------------------------------------

const KEYS = {
  seq: [["seg", "↕", "segment", "报文段"], ["again", "R", "sent again", "重传"], ["lost", "✕", "lost", "丢失"], ["ack", "", "acknowledged", "已确认"], ["sack", "", "SACK", "SACK"], ["wnd", "", "window's edge", "窗口右沿"]],
  win: [["cwnd", "", "cwnd", "拥塞窗口"], ["ssthresh", "", "ssthresh", "慢启动阈值"], ["flight", "", "in flight", "在途"], ["rcv", "", "peer's window", "对方窗口"]],
  rtt: [["trip", "•", "measured", "测得"], ["srtt", "", "SRTT", "SRTT"], ["rto", "", "RTO", "RTO"]],
};

let keysFor = "";
function keys() {
  const wanted = [view.language, ...view.off, ...Object.values(plots).flatMap((u) => ["/", ...(u.lacking || [])])].join(" ");
  if (wanted === keysFor) return;
  keysFor = wanted;
  for (const [id, entries] of Object.entries(KEYS)) {
    const place = byId(`key-${id}`);
    const made = entries.map(([name, mark, en, zh]) => {
      const entry = element("button", "entry");
      entry.type = "button";
      entry.dataset.name = name;
      entry.setAttribute("aria-pressed", isOn(name));
      entry.title = say("show or hide", "显示或隐藏");
      if (plots[id].lacking && plots[id].lacking.has(name)) entry.hidden = true;
      const sign = element(mark ? "b" : "i", "", mark || undefined);
      sign.style[mark ? "color" : "background"] = `var(--${name})`;
      entry.append(sign, say(en, zh));
      return entry;
    });
    place.replaceChildren(...made);
  }
}

function toggle(name) {
  view.decided.add(name);
  view.off[isOn(name) ? "add" : "delete"](name);
  SAMPLED.forEach((one, n) => { if (one === name) plots.win.setSeries(n + 1, { show: isOn(name) }); });
  ["srtt", "rto"].forEach((one, n) => { if (one === name) plots.rtt.setSeries(n + 1, { show: isOn(name) }); });
  showSpan();
  redrawPlots();
  for (const entry of document.querySelectorAll(".entry")) entry.setAttribute("aria-pressed", isOn(entry.dataset.name));
}

// -- the pointer ----------------------------------------------------------------------------------

function pointed(u, event) {
  const box = u.over.getBoundingClientRect(), r = devicePixelRatio;
  const left = event.clientX - box.left, top = event.clientY - box.top;
  return { at: u.posToVal(left, "x"), left: left + u.bbox.left / r, top: top + u.bbox.top / r };
}

function indexAt(list, at) {
  let low = 0, high = list.length;
  while (low < high) { const middle = (low + high) >> 1; if (list[middle] <= at) low = middle + 1; else high = middle; }
  return low - 1;
}

function tipOf(u, event) {
  const { at, left, top } = pointed(u, event), lines = [], moment = (v) => `${v.toFixed(digits())} s`;
  if (u.id === "seq") {
    const n = nearest(left, top);
    if (n >= 0) { const s = segment(n); lines.push(`${moment(s.at)}  ${D.hosts[s.from]} → ${D.hosts[s.to]}`, wordsOf(s), toldOf(s)); }
  } else if (u.id === "states") {
    const one = laneAt(left, top);
    if (one) lines.push(`${D.hosts[one.host]}: ${one.state} ${one.error}`, `${moment(one.at)} … ${one.until === null ? "" : moment(one.until)}`);
  } else {
    const n = indexAt(u.data[0], at), entries = u.id === "win" ? KEYS.win : KEYS.rtt.slice(1);
    const told = entries.map(([name, , en, zh], series) => { const v = n < 0 ? null : u.data[series + 1][n]; return v === null || v === undefined ? "" : `${say(en, zh)} ${u.id === "win" ? v : millis(v)}`; }).filter(Boolean);
    if (u.id === "rtt") { const { trips } = sequence(), trip = indexAt(trips.map((t) => t[0]), at); if (trip >= 0) told.unshift(`${say("measured", "测得")} ${millis(trips[trip][1] * 1000)}`); }
    if (told.length) lines.push(moment(at), ...told);
  }
  const near = (4 * (u.scales.x.max - u.scales.x.min)) / u.over.clientWidth;
  for (const fault of D.f) if (at >= fault[0] - near && at <= (fault[3] === null ? fault[0] + near : fault[3])) lines.push(faultText(fault) + (fault[3] === null ? "" : `, ${moment(fault[0])} … ${moment(fault[3])}`));
  for (const [from, until, count] of D.g) if (at >= from && at <= until) lines.push(say(`${count} segments not shown`, `${count} 个报文段未显示`));
  return lines.filter(Boolean);
}

function showTip(u, event) {
  const tip = byId("tip"), lines = tipOf(u, event);
  tip.hidden = !lines.length;
  tip.replaceChildren(...lines.map((text, n) => element("div", n ? "" : "first", text)));
  const right = event.clientX + 16 + tip.offsetWidth > innerWidth;
  tip.style.left = `${right ? event.clientX - 12 - tip.offsetWidth : event.clientX + 14}px`;
  tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 6)}px`;
}
function hideTip() { byId("tip").hidden = true; }

function clicked(u, event) {
  const { at, left, top } = pointed(u, event);
  if (u.id === "seq") { const n = nearest(left, top); if (n >= 0) return choose(["p", n], "plot"); }
  if (u.id === "states") { const one = laneAt(left, top); if (one && one.n >= 0) choose(["s", one.n], "plot"); return; }
  const fault = D.f.findIndex(([from, , , until]) => until === null && Math.abs(u.valToPos(from, "x") - u.valToPos(at, "x")) < 5);
  if (fault >= 0) return choose(["f", fault], "plot");
  if (u.id === "seq") return;
  // What the sender did last before that moment.
  const chosen = plotted();
  let best = -1;
  for (let n = 0; n < D.p.at.length && D.p.at[n] <= at; n++) if (chosen && D.p.flow[n] === chosen.flow && D.p.from[n] === chosen.sender) best = n;
  if (best >= 0) choose(["p", best], "plot");
}
