"use strict";
// What tcptrace draws, in the plots of uPlot: segments as bars from their first to their last byte,
// acknowledgments and windows as steps; faults as bands; states as lanes.
let palette = {};
function readPalette() {
  const style = getComputedStyle(document.documentElement);
  palette = new Proxy({}, {
    get: (known, name) => (known[name] = known[name] || style.getPropertyValue(`--${String(name)}`).trim()),
  });
}
const colour = (name) => palette[name];
const isOn = (name) => !view.off.has(name);
const FONT = 'system-ui, "Noto Sans", "Noto Sans CJK SC", sans-serif';

function clipped(u, work) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.textBaseline = "alphabetic"; // uPlot leaves that of its axes
  work(ctx, (t) => u.valToPos(t, "x", true), (v) => u.valToPos(v, "y", true), devicePixelRatio);
  ctx.restore();
}

function faultText([, host, text]) { return host < 0 ? spoken(text) : `${D.hosts[host]}: ${spoken(text)}`; }

function drawFaults(u) {
  clipped(u, (ctx, x, y, r) => {
    const { top, height } = u.bbox;
    ctx.fillStyle = `${colour("grid")}a0`;
    for (const [at, until] of D.g) ctx.fillRect(x(at), top, Math.max(x(until) - x(at), r), height);
    let free = -Infinity;
    for (const fault of D.f) {
      const [at, , , until] = fault, left = x(at);
      if (until !== null) {
        ctx.fillStyle = `${colour("fault")}1c`;
        ctx.fillRect(left, top, Math.max(x(until) - left, r), height);
      }
      ctx.strokeStyle = colour("fault"); ctx.setLineDash([3 * r, 4 * r]); ctx.lineWidth = r;
      ctx.beginPath(); ctx.moveTo(left, top); ctx.lineTo(left, top + height); ctx.stroke();
      if (u.id !== "seq" || left < free) continue;
      ctx.font = `${10.5 * r}px ${FONT}`; ctx.textAlign = "left"; ctx.fillStyle = colour("fault");
      const long = ctx.measureText(faultText(fault)).width + 4 * r, fits = left + long < u.bbox.left + u.bbox.width;
      if (!fits && left - long < free) continue;
      ctx.fillText(faultText(fault), fits ? left + 4 * r : left - long, top + 11 * r);
      free = fits ? left + long + 6 * r : left;
    }
  });
}

function drawChosen(u) {
  if (!view.chosen) return;
  clipped(u, (ctx, x, y, r) => {
    const at = x(momentOf(view.chosen));
    ctx.strokeStyle = colour("accent"); ctx.lineWidth = 1.5 * r;
    ctx.beginPath(); ctx.moveTo(at, u.bbox.top); ctx.lineTo(at, u.bbox.top + u.bbox.height); ctx.stroke();
  });
}

// Steps through the points that are in sight; `end` is where the last one ends.
function steps(ctx, x, y, points, end, style, r) {
  if (!points.length) return;
  ctx.strokeStyle = style; ctx.lineWidth = 1.3 * r;
  ctx.beginPath(); ctx.moveTo(x(points[0][0]), y(points[0][1]));
  for (let n = 1; n < points.length; n++) {
    ctx.lineTo(x(points[n][0]), y(points[n - 1][1])); ctx.lineTo(x(points[n][0]), y(points[n][1]));
  }
  ctx.lineTo(x(end), y(points[points.length - 1][1])); ctx.stroke();
}

// Of a list in order of time, what is in sight, and one neighbour on each side.
function inSight(list, timeOf) {
  const [min, max] = view.zoom || extent();
  let first = list.findIndex((one) => timeOf(one) >= min);
  if (first < 0) return list.slice(-1);
  let last = first;
  while (last < list.length && timeOf(list[last]) <= max) last++;
  return list.slice(Math.max(first - 1, 0), last + 1);
}

function blank(ctx, words, x, y, r) {
  ctx.font = `${11.5 * r}px ${FONT}`; ctx.textAlign = "center"; ctx.fillStyle = colour("soft");
  ctx.fillText(words, x, y);
}

// A graph without anything in it says why.
function drawBlank(u) {
  if (!u.blank) return;
  clipped(u, (ctx, x, y, r) => blank(ctx, say(...u.blank), u.bbox.left + u.bbox.width / 2, u.bbox.top + u.bbox.height / 2, r));
}

const kindOf = (one) => (one.lost ? "lost" : one.again ? "again" : "seg");
const hits = []; // [left, one end, other end, segment], CSS pixels: what the pointer may be on

function drawSequence(u) {
  const found = sequence(), [, end] = moments();
  hits.length = 0;
  clipped(u, (ctx, x, y, r) => {
    const edges = inSight(found.edges, (e) => e[0]), acks = inSight(found.acks, (a) => a[0]);
    if (isOn("wnd")) steps(ctx, x, y, edges, end, colour("wnd"), r);
    if (isOn("ack")) {
      steps(ctx, x, y, acks.filter((a) => !a[3]), end, colour("ack"), r);
      ctx.strokeStyle = colour("ack"); ctx.lineWidth = r;
      ctx.beginPath();
      for (const [at, ack, n, again] of acks) {
        if (again) { ctx.moveTo(x(at), y(ack)); ctx.lineTo(x(at), y(ack) - 5 * r); }
        hits.push([x(at) / r, y(ack) / r, y(ack) / r, n]);
      }
      ctx.stroke();
    }
    if (isOn("sack")) {
      ctx.strokeStyle = `${colour("sack")}80`; ctx.lineWidth = 1.5 * r;
      ctx.beginPath();
      for (const [at, low, high, n] of inSight(found.sacks, (s) => s[0])) {
        ctx.moveTo(x(at), y(low)); ctx.lineTo(x(at), y(high));
        hits.push([x(at) / r, y(low) / r, y(high) / r, n]);
      }
      ctx.stroke();
    }
    const data = inSight(found.data, (d) => d.at);
    const crowded = data.length > u.bbox.width / r / 5;
    for (const kind of ["seg", "again", "lost"]) {
      if (!isOn(kind)) continue;
      ctx.strokeStyle = ctx.fillStyle = colour(kind); ctx.lineWidth = (crowded ? 1.6 : 1.3) * r;
      ctx.beginPath();
      const these = data.filter((one) => kindOf(one) === kind);
      for (const { n, at, low, high } of these) {
        const left = x(at), down = y(low), up = y(high), flat = down - up < 2 * r ? r : 0, tip = 3 * r;
        ctx.moveTo(left, down + flat); ctx.lineTo(left, up - flat);
        if (!crowded && down - up > 2 * tip) {
          ctx.moveTo(left - tip, down - tip); ctx.lineTo(left, down); ctx.lineTo(left + tip, down - tip);
          ctx.moveTo(left - tip, up + tip); ctx.lineTo(left, up); ctx.lineTo(left + tip, up + tip);
        } else if (!crowded) {
          ctx.moveTo(left - tip, down); ctx.lineTo(left + tip, down); ctx.moveTo(left - tip, up); ctx.lineTo(left + tip, up);
        }
        hits.push([left / r, down / r, up / r, n]);
      }
      ctx.stroke();
      if (kind === "lost") {
        const size = (crowded ? 3 : 5) * r;
        ctx.lineWidth = (crowded ? 1.3 : 2) * r; ctx.beginPath();
        for (const { at, low, high } of these) {
          const left = x(at), middle = (y(low) + y(high)) / 2;
          ctx.moveTo(left - size, middle - size); ctx.lineTo(left + size, middle + size);
          ctx.moveTo(left - size, middle + size); ctx.lineTo(left + size, middle - size);
        }
        ctx.stroke();
      }
      ctx.font = `600 ${10 * r}px ${FONT}`; ctx.textAlign = "center";
      let free = -Infinity;
      for (const { at, low, high, letter } of these) {
        const left = Math.min(Math.max(x(at), u.bbox.left + 5 * r), u.bbox.left + u.bbox.width - 5 * r);
        if (!letter || left < free) continue;
        const above = kind === "again";
        ctx.fillText(letter, left, above ? y(low) + 12 * r : y(high) - 4 * r);
        free = left + (crowded ? 9 : 5) * r;
      }
    }
  });
}

// The segment nearest to the pointer, within a finger's width.
function nearest(left, top) {
  let best = -1, least = 14;
  for (const [x, low, high, n] of hits) {
    if (Math.abs(x - left) >= least) continue;
    const down = Math.max(low, high), up = Math.min(low, high);
    const distance = Math.hypot(x - left, top > down ? top - down : top < up ? up - top : 0);
    if (distance < least) { least = distance; best = n; }
  }
  return best;
}

// Round trips as the packets show them: one dot for each acknowledgment of something sent once.
function drawTrips(u) {
  if (!isOn("trip")) return;
  clipped(u, (ctx, x, y, r) => {
    ctx.fillStyle = `${colour("trip")}90`;
    for (const [at, took] of inSight(sequence().trips, (t) => t[0])) {
      ctx.beginPath(); ctx.arc(x(at), y(took * 1000), 1.8 * r, 0, 7); ctx.fill();
    }
  });
}

const STATES = {
  ESTABLISHED: ["ack", "ESTAB"], CLOSED: ["soft", "CLOSED"], LISTEN: ["soft", "LISTEN"], "SYN-SENT": ["again", "SYN-S"],
  "SYN-RECEIVED": ["again", "SYN-R"], "TIME-WAIT": ["wnd", "TIME-W"], "FIN-WAIT-1": ["sack", "FIN-W1"], "FIN-WAIT-2": ["said", "FIN-W2"],
  "CLOSE-WAIT": ["cwnd", "CLOSE-W"], "LAST-ACK": ["sack", "LAST-A"], CLOSING: ["sack", "CLOSING"],
};

const lanes = []; // [left, top, right, bottom, state]: what the pointer may be on

function drawStates(u) {
  const chosen = plotted();
  lanes.length = 0;
  if (!chosen) return;
  clipped(u, (ctx, x, y, r) => {
    const { top, height, left: start, width } = u.bbox, [, end] = moments();
    [chosen.sender, chosen.receiver].forEach((host, lane) => {
      const above = top + (height / 2) * lane + 3 * r, tall = height / 2 - 6 * r;
      for (const one of statesOf(host, chosen.flow)) {
        const [name, short] = STATES[one.state] || ["sack", one.state];
        const style = colour(one.error ? "lost" : name);
        const left = x(one.at), right = Math.max(x(one.until === null ? end : one.until), left + 2 * r);
        ctx.fillStyle = `${style}38`; ctx.fillRect(left, above, right - left, tall);
        ctx.fillStyle = style; ctx.fillRect(left, above, 2 * r, tall);
        const from = Math.max(left, start), to = Math.min(right, start + width), room = to - from - 10 * r;
        const full = one.error ? `${one.state} ${one.error}` : one.state;
        ctx.font = `600 ${10.5 * r}px ${FONT}`; ctx.textAlign = "left"; ctx.fillStyle = colour("text");
        const words = [full, one.state, short].find((text) => ctx.measureText(text).width < room);
        if (words) ctx.fillText(words, from + 6 * r, above + tall / 2 + 4 * r);
        lanes.push([Math.max(from - 2 * r, start) / r, above / r, to / r, (above + tall) / r, { ...one, host }]);
      }
      if (!statesOf(host, chosen.flow).length) blank(ctx, say("no states recorded", "没有状态记录"), start + width / 2, above + tall / 2 + 4 * r, r);
    });
  });
}

function laneAt(left, top) {
  // The last that matches: a short one is drawn over the end of the one before.
  return lanes.filter(([from, above, until, below]) => left >= from && left <= until && top >= above && top <= below).map((lane) => lane[4]).pop();
}
