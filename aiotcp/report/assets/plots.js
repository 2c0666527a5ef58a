"use strict";
// The plots: uPlot has axes, zoom and cursor; what tcptrace draws is drawn here.
const plots = { made: [], points: [], seq: null };
const AXIS = 74;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function axes(format) {
  const common = () => ({ stroke: colour("soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 }, font: "11px system-ui, sans-serif" });
  return [
    { ...common(), size: 26, values: (_, values) => values.map((v) => `${+v.toFixed(6)} s`) },
    { ...common(), size: AXIS, values: (_, values) => values.map(format) },
  ];
}

const bytes = (v) => (Math.abs(v) >= 1e6 ? `${+(v / 1e6).toFixed(2)} MB` : Math.abs(v) >= 1e4 ? `${+(v / 1e3).toFixed(1)} kB` : `${v}`);

let sharing = false;
function shareZoom(u, key) {
  if (key !== "x" || sharing) return;
  sharing = true;
  const { min, max } = u.scales.x;
  for (const other of plots.made) if (other !== u) other.setScale("x", { min, max });
  sharing = false;
}

function options(id, height, format, series, draw, scales = {}) {
  return {
    width: document.getElementById(id).clientWidth, height, legend: { show: false },
    cursor: { sync: { key: "time" }, drag: { x: true, y: false }, points: { show: false } },
    scales: { x: { time: false }, ...scales }, axes: axes(format), series: [{}, ...series],
    hooks: { setScale: [shareZoom], draw: [drawFaults, ...draw, drawChosen] },
  };
}

function make(id, opts, data) {
  const place = document.getElementById(id);
  place.replaceChildren();
  const made = new uPlot(opts, data, place);
  plots.made.push(made);
  return made;
}

function clipped(u, work) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  work(ctx, (t) => u.valToPos(t, "x", true), (v) => u.valToPos(v, "y", true));
  ctx.restore();
}

function drawFaults(u) {
  clipped(u, (ctx, x) => {
    const { top, height } = u.bbox;
    for (const [at, , , until] of D.f) {
      if (until !== null) {
        ctx.fillStyle = `${colour("fault")}22`;
        ctx.fillRect(x(at), top, x(until) - x(at), height);
      }
      ctx.strokeStyle = colour("fault");
      ctx.setLineDash([3 * devicePixelRatio, 4 * devicePixelRatio]);
      ctx.lineWidth = devicePixelRatio;
      ctx.beginPath(); ctx.moveTo(x(at), top); ctx.lineTo(x(at), top + height); ctx.stroke();
    }
  });
}

function drawChosen(u) {
  if (view.chosen < 0) return;
  clipped(u, (ctx, x) => {
    ctx.strokeStyle = colour("accent"); ctx.lineWidth = 1.5 * devicePixelRatio;
    const at = x(D.p.at[view.chosen]);
    ctx.beginPath(); ctx.moveTo(at, u.bbox.top); ctx.lineTo(at, u.bbox.top + u.bbox.height); ctx.stroke();
  });
}

function steps(ctx, x, y, points, end, style) {
  if (!points.length) return;
  ctx.strokeStyle = style; ctx.lineWidth = 1.3 * devicePixelRatio;
  ctx.beginPath(); ctx.moveTo(x(points[0][0]), y(points[0][1]));
  for (let n = 1; n < points.length; n++) {
    ctx.lineTo(x(points[n][0]), y(points[n - 1][1])); ctx.lineTo(x(points[n][0]), y(points[n][1]));
  }
  ctx.lineTo(x(end), y(points[points.length - 1][1])); ctx.stroke();
}

function drawSequence(u) {
  const found = plots.seq, end = lastMoment(), r = devicePixelRatio;
  plots.points = [];
  clipped(u, (ctx, x, y) => {
    steps(ctx, x, y, found.edges, end, colour("wnd"));
    steps(ctx, x, y, found.acks.filter((a) => !a[3]), end, colour("ack"));
    ctx.strokeStyle = colour("ack"); ctx.lineWidth = r;
    for (const [at, ack, n, again] of found.acks) {
      if (again) { ctx.beginPath(); ctx.moveTo(x(at), y(ack)); ctx.lineTo(x(at), y(ack) - 5 * r); ctx.stroke(); }
      plots.points.push([x(at) / r, y(ack) / r, y(ack) / r, n]);
    }
    ctx.strokeStyle = colour("sack"); ctx.lineWidth = 2 * r;
    for (const [at, low, high, n] of found.sacks) {
      ctx.beginPath(); ctx.moveTo(x(at), y(low)); ctx.lineTo(x(at), y(high)); ctx.stroke();
      plots.points.push([x(at) / r, y(low) / r, y(high) / r, n]);
    }
    ctx.font = `${10 * r}px system-ui, sans-serif`; ctx.textAlign = "center";
    for (const { n, at, low, high, again, lost, letter } of found.data) {
      const style = lost ? colour("lost") : again ? colour("again") : colour("seg");
      ctx.strokeStyle = ctx.fillStyle = style; ctx.lineWidth = 1.2 * r;
      const left = x(at), down = y(low), up = y(high);
      ctx.beginPath(); ctx.moveTo(left, down); ctx.lineTo(left, up);
      ctx.moveTo(left - 3 * r, down - 3 * r); ctx.lineTo(left, down); ctx.lineTo(left + 3 * r, down - 3 * r);
      ctx.moveTo(left - 3 * r, up + 3 * r); ctx.lineTo(left, up); ctx.lineTo(left + 3 * r, up + 3 * r);
      ctx.stroke();
      if (lost) {
        const middle = (down + up) / 2;
        ctx.lineWidth = 2 * r; ctx.beginPath();
        ctx.moveTo(left - 4 * r, middle - 4 * r); ctx.lineTo(left + 4 * r, middle + 4 * r);
        ctx.moveTo(left - 4 * r, middle + 4 * r); ctx.lineTo(left + 4 * r, middle - 4 * r); ctx.stroke();
      }
      if (letter) ctx.fillText(letter, left, up - 4 * r);
      plots.points.push([left / r, down / r, up / r, n]);
    }
  });
}

// The segment nearest to a click, within a finger's width.
function nearest(left, top) {
  let best = -1, least = 14;
  for (const [x, low, high, n] of plots.points) {
    const down = Math.max(low, high), up = Math.min(low, high);
    const distance = Math.hypot(x - left, top > down ? top - down : top < up ? up - top : 0);
    if (distance < least) { least = distance; best = n; }
  }
  return best;
}

function drawStates(u) {
  const chosen = plotted();
  if (!chosen) return;
  const palette = { ESTABLISHED: "ack", CLOSED: "soft", "SYN-SENT": "again", "SYN-RECEIVED": "again", "TIME-WAIT": "rcv" };
  clipped(u, (ctx, x) => {
    const r = devicePixelRatio, { top, height } = u.bbox, end = lastMoment();
    [chosen.sender, chosen.receiver].forEach((host, lane) => {
      const y = top + (height / 2) * lane + 2 * r, tall = height / 2 - 5 * r;
      for (const { at, until, state } of statesOf(host, chosen.flow)) {
        const left = x(at), right = x(until === null ? end : until);
        ctx.fillStyle = `${colour(palette[state.split(" ")[0]] || "sack")}44`;
        ctx.fillRect(left, y, Math.max(right - left, 1.5 * r), tall);
        ctx.strokeStyle = colour(palette[state.split(" ")[0]] || "sack"); ctx.lineWidth = 1.5 * r;
        ctx.beginPath(); ctx.moveTo(left, y); ctx.lineTo(left, y + tall); ctx.stroke();
        ctx.font = `${10.5 * r}px system-ui, sans-serif`; ctx.textAlign = "left";
        const shownLeft = Math.max(left, u.bbox.left), room = Math.min(right, u.bbox.left + u.bbox.width) - shownLeft - 8 * r;
        if (ctx.measureText(state).width < room) { ctx.fillStyle = colour("text"); ctx.fillText(state, shownLeft + 5 * r, y + tall / 2 + 4 * r); }
      }
    });
  });
}

function keyOf(id, entries) {
  const key = document.getElementById(id);
  key.replaceChildren();
  for (const [name, mark, en, zh] of entries) {
    const entry = element("span");
    if (mark) { const b = element("b", "", mark); b.style.color = `var(--${name})`; entry.append(b); }
    else { const line = element("i"); line.style.background = `var(--${name})`; entry.append(line); }
    entry.append(view.language === "zh" ? zh : en);
    key.append(entry);
  }
}

function drawAll() {
  for (const made of plots.made) made.destroy();
  plots.made = [];
  const chosen = plotted(), end = lastMoment();
  plots.seq = sequence();
  const highest = Math.max(1, ...plots.seq.data.map((d) => d.high), ...plots.seq.acks.map((a) => a[1]));
  const range = { range: () => [0, end * 1.01] };
  const u = make("plot-seq", options("plot-seq", 300, bytes, [{ stroke: "transparent" }], [drawSequence], { x: { time: false, ...range }, y: { range: () => [0, highest * 1.12] } }), [[0, end], [0, highest]]);
  u.over.addEventListener("click", (event) => {
    const box = u.over.getBoundingClientRect();
    const n = nearest(event.clientX - box.left + u.bbox.left / devicePixelRatio, event.clientY - box.top + u.bbox.top / devicePixelRatio);
    if (n >= 0) choose(n, true);
  });
  const found = chosen ? samplesOf(chosen.sender, chosen.flow) : [];
  const at = found.map((n) => D.m.at[n]);
  const column = (name, factor = 1) => found.map((n) => (D.m[name][n] === null ? null : D.m[name][n] * factor));
  const stepped = uPlot.paths.stepped({ align: 1 });
  const line = (name) => ({ stroke: colour(name), width: 1.6, paths: stepped, points: { show: found.length < 60, size: 4 }, spanGaps: false });
  const x = { x: { time: false, range: () => [0, end * 1.01] } };
  const empty = [[0, end], [null, null], [null, null], [null, null], [null, null]];
  make("plot-win", options("plot-win", 190, bytes, [line("cwnd"), line("ssthresh"), line("flight"), line("rcv")], [], x),
    found.length ? [at, column("cwnd"), column("ssthresh"), column("flight"), column("snd_wnd")] : empty);
  make("plot-rtt", options("plot-rtt", 150, (v) => `${+v.toFixed(3)}`, [line("cwnd"), line("rto")], [], x),
    found.length ? [at, column("srtt", 1000), column("rto", 1000)] : empty.slice(0, 3));
  const lanes = options("plot-states", 96, () => "", [{ stroke: "transparent" }], [drawStates], { ...x, y: { range: () => [0, 2] } });
  lanes.axes[1].grid = lanes.axes[1].ticks = { show: false };
  lanes.axes[1].splits = () => [0.5, 1.5];
  lanes.axes[1].values = () => (chosen ? [D.hosts[chosen.receiver], D.hosts[chosen.sender]] : ["", ""]);
  make("plot-states", lanes, [[0, end], [0, 2]]);
  keyOf("key-seq", [["seg", "↕", "segment", "报文段"], ["again", "R", "again", "重传"], ["lost", "✕", "lost", "丢失"], ["ack", "", "acknowledged", "已确认"], ["wnd", "", "window", "窗口"], ["sack", "", "SACK", "SACK"]]);
  keyOf("key-win", [["cwnd", "", "cwnd", "cwnd"], ["ssthresh", "", "ssthresh", "ssthresh"], ["flight", "", "in flight", "在途"], ["rcv", "", "peer's window", "对方窗口"]]);
  keyOf("key-rtt", [["cwnd", "", "SRTT", "SRTT"], ["rto", "", "RTO", "RTO"]]);
}
