"use strict";
// The data, as it came and as the page uses it: rows of the ladder, points of the plots.
// `take` adds to it, so a page may begin with nothing and be told more as it happens.
const D = {
  title: "", here: null, seed: "", replay: "", epoch: null, notes: [], question: {}, answer: {}, hosts: [], lanes: [], flows: [], order: "",
  before: new Map(), // by host and flow, the last of its states that was forgotten
  p: {}, s: [], a: [], f: [], g: [], m: {}, words: [], explain: { why: {}, drop: {} }, chinese: Object.create(null),
};
const SEGMENT = ["at", "from", "to", "flow", "flags", "seq", "ack", "win", "len", "opt", "why", "fate", "drop", "ecn", "again", "came", "head"];
const SAMPLE = ["at", "host", "flow", "cwnd", "ssthresh", "flight", "snd_wnd", "rcv_wnd", "srtt", "rttvar", "rto", "waits", "until"];
const SPOKEN = new Set(["flags", "why", "fate", "drop", "ecn", "waits"]);
for (const name of SEGMENT) D.p[name] = [];
for (const name of SAMPLE) D.m[name] = [];

// chosen: [kind, index] of a row; zoom: [from, until] in seconds, or null for all of it.
const view = { flow: 0, plot: 0, side: 0, language: "en", chosen: null, find: "", zoom: null, off: new Set(), decided: new Set() };

const W = (n) => D.words[n];
const LOST = new Set(["lost", "corrupted"]);
const say = (en, zh) => (view.language === "zh" ? zh : en);
// A sentence of the trace: the title, a note, what a program said, what was done to the network.
const spoken = (text) => say(text, D.chinese[text] || text);
const FATES = { lost: "丢失", late: "迟到", corrupted: "损坏", duplicated: "重复到达", marked: "拥塞标记", stripped: "选项被去掉", underway: "在途" };
const fateOf = (fate) => say(fate, FATES[fate] || fate);

const numbers = new Map();
function numberOf(word) {
  let number = numbers.get(word);
  if (number === undefined) { numbers.set(word, (number = D.words.length)); D.words.push(word); }
  return number;
}

function extend(list, more) { for (const one of more) list.push(one); }

function take(news) {
  for (const name of ["title", "seed", "replay", "epoch", "notes", "question", "answer", "hosts", "lanes", "flows", "here"]) if (name in news) D[name] = news[name];
  const word = (news.words || []).map(numberOf);
  for (const [here, names] of [["p", SEGMENT], ["m", SAMPLE]]) {
    if (news[here]) for (const name of names) extend(D[here][name], SPOKEN.has(name) ? news[here][name].map((n) => word[n]) : news[here][name]);
  }
  for (const kind of ["s", "a", "f", "g"]) extend(D[kind], news[kind] || []);
  D.order += news.order || "";
  for (const kind of ["why", "drop"]) Object.assign(D.explain[kind], (news.explain || {})[kind]);
  Object.assign(D.chinese, news.chinese);
  made.clear();
}

// Forget the oldest rows, so that at most so many segments remain; returns how many were forgotten.
function keep(most) {
  let over = D.p.at.length - most, cut = 0;
  if (over <= 0) return 0;
  const gone = { p: 0, s: 0, a: 0, f: 0, g: 0 };
  for (; over > 0; cut++) { gone[D.order[cut]]++; if (D.order[cut] === "p") over--; }
  D.order = D.order.slice(cut);
  for (const row of D.s.slice(0, gone.s)) D.before.set(`${row[1]} ${row[2]}`, row);
  for (const name of SEGMENT) D.p[name].splice(0, gone.p);
  for (const kind of ["s", "a", "f", "g"]) D[kind].splice(0, gone[kind]);
  const from = D.p.at[0];
  let old = 0;
  while (old < D.m.at.length && D.m.at[old] < from) old++;
  for (const name of SAMPLE) D.m[name].splice(0, old);
  if (view.chosen) {
    view.chosen = [view.chosen[0], view.chosen[1] - gone[view.chosen[0]]];
    if (view.chosen[1] < 0) view.chosen = null;
  }
  made.clear();
  return cut;
}

// What was worked out stays until the data change.
const made = new Map();
function once(key, make) {
  if (!made.has(key)) made.set(key, make());
  return made.get(key);
}

function segment(n) {
  const p = D.p;
  return {
    n, at: p.at[n], from: p.from[n], to: p.to[n], flow: p.flow[n], flags: W(p.flags[n]),
    seq: p.seq[n], ack: p.ack[n], win: p.win[n], len: p.len[n], opt: p.opt[n], why: W(p.why[n]),
    fate: W(p.fate[n]), drop: W(p.drop[n]), ecn: W(p.ecn[n]), again: p.again[n], came: p.came[n],
    head: p.head[n],
  };
}

const sackOf = (s) => s.opt.split(" ").find((o) => o.startsWith("sack="));

// The first of these that is no longer than `most`: options and the window are what one misses least.
function wordsOf(s, most = Infinity) {
  const ack = s.ack === null ? "" : ` ack=${s.ack}`, len = s.len ? ` len=${s.len}` : "";
  const start = `${s.flags} seq=${s.seq}${ack}`, told = s.opt.split(" ").filter((o) => /^(sack|mss|wscale|tfo)=/.test(o));
  const text = s.flags.includes("RST") ? start + len : `${start} win=${s.win}${len}`;
  const ways = [[text, ...told].join(" "), text, start + len, `${s.flags} seq=${s.seq}${len}`, s.flags + len, s.flags];
  return ways.find((way) => way.length <= most) || s.flags;
}

function momentOf([kind, n]) { return kind === "p" ? D.p.at[n] : D[kind][n][0]; }

// What a search looks at.
function textOf([kind, n]) {
  if (kind === "p") {
    const s = segment(n), flow = D.flows[s.flow];
    const told = s.again ? "again retransmitted 重传" : "";
    return `${D.hosts[s.from]} ${D.hosts[s.to]} ${wordsOf(s)} ${s.why} ${s.fate} ${FATES[s.fate] || ""} ${s.drop} ${s.ecn} ${s.opt} ${told} ${flow ? flow.ends : ""}`.toLowerCase();
  }
  const row = D[kind][n];
  if (kind === "g") return "gap";
  return (kind === "s" ? `${D.hosts[row[1]]} ${row[4]} ${row[5]}` : `${D.hosts[row[1]] || ""} ${row[2]} ${D.chinese[row[2]] || ""}`).toLowerCase();
}

// Rows of the ladder: [kind, index], in the order in which things happened.
function rowsOf(flow, find) {
  const next = { p: 0, s: 0, a: 0, f: 0, g: 0 };
  const rows = [], wanted = find.toLowerCase().split(/\s+/).filter(Boolean);
  for (const kind of D.order) {
    const n = next[kind]++;
    if (kind === "p" && flow >= 0 && D.p.flow[n] !== flow) continue;
    if (kind === "s" && flow >= 0 && D.s[n][2] !== flow) continue;
    if (wanted.length) {
      const text = textOf([kind, n]);
      if (!wanted.every((word) => text.includes(word))) continue;
    }
    rows.push([kind, n]);
  }
  return rows;
}

// All that is shown happened between these.
function moments() {
  return once("moments", () => {
    const firsts = [], lasts = [];
    for (const list of [D.p.at, D.m.at, ...["s", "a", "f", "g"].map((kind) => D[kind].map((row) => row[0]))]) {
      if (list.length) { firsts.push(list[0]); lasts.push(list[list.length - 1]); }
    }
    const first = firsts.length ? Math.min(...firsts) : 0, last = lasts.length ? Math.max(...lasts) : 1;
    return [first, Math.max(last, first + 1e-6)];
  });
}

// Digits behind the point that tell one row from the next.
function digits() {
  const [first, last] = moments();
  return last - first < 0.1 ? 6 : last < 10 ? 4 : 3;
}

// With all of them in the ladder, the plots show that of what was chosen last.
const shownFlow = () => (view.flow < 0 ? view.plot : view.flow);

// Who sends in the plots: the client (0) or the server (1) of the chosen flow.
function plotted() {
  const flow = shownFlow(), ends = D.flows[flow];
  if (!ends) return null;
  const hosts = [ends.client, ends.server].map((name) => D.hosts.indexOf(name));
  return { flow, sender: hosts[view.side], receiver: hosts[1 - view.side] };
}

// The time–sequence graph as tcptrace draws it, seen from the sender; and what can be told from the
// packets alone: round trips, bytes in flight, the peer's window.
function sequence() {
  const chosen = plotted();
  return once(`sequence ${chosen && [chosen.flow, chosen.sender]}`, () => workOut(chosen));
}

function workOut(chosen) {
  const found = { data: [], acks: [], edges: [], sacks: [], trips: [], flight: [] };
  if (!chosen) return found;
  const answers = [];
  for (let n = 0; n < D.p.at.length; n++) {
    if (D.p.flow[n] !== chosen.flow) continue;
    const s = segment(n), reset = s.flags.includes("RST"), lost = LOST.has(s.fate);
    if (s.from === chosen.sender) {
      const syn = s.flags.includes("SYN") ? 1 : 0, fin = s.flags.includes("FIN") ? 1 : 0;
      const size = reset ? 0 : s.len + syn + fin;
      if (size || reset) found.data.push({ n, at: s.at, low: s.seq, high: s.seq + size, again: s.again && !reset, lost, letter: reset ? "RST" : syn ? "S" : fin ? "F" : s.again ? "R" : "" });
    } else if (s.ack !== null && !lost) {
      answers.push([s.came === null ? s.at : s.came, s]);
    }
  }
  answers.sort((one, other) => one[0] - other[0]);
  const waiting = new Map(); // by the number behind its last byte, when it was sent, if once
  let acked = null, sent = 0, next = 0, gap = 0;
  const leave = (until) => {
    for (; next < found.data.length && found.data[next].at <= until; next++) {
      const one = found.data[next];
      if (acked === null) acked = one.low;
      waiting.set(one.high, waiting.has(one.high) || one.again ? null : one);
      sent = Math.max(sent, one.high);
      found.flight.push([one.at, Math.max(sent - acked, 0)]);
    }
  };
  for (const [at, s] of answers) {
    // What came in a gap is not known, so no answer behind it measures what was sent before.
    for (; gap < D.g.length && D.g[gap][1] <= at; gap++) { leave(D.g[gap][1]); waiting.clear(); }
    leave(at);
    if (acked === null || s.ack > acked) {
      const last = waiting.get(s.ack);
      if (last) found.trips.push([at, at - last.at, s.n]);
      for (const high of waiting.keys()) { if (high > s.ack) break; waiting.delete(high); }
      acked = s.ack;
      found.acks.push([at, acked, s.n, false]);
      if (sent) found.flight.push([at, Math.max(sent - acked, 0)]);
    } else found.acks.push([at, acked, s.n, true]);
    found.edges.push([at, s.ack + s.win, s.win]);
    const sack = sackOf(s);
    if (sack) for (const range of sack.slice(5).split(",")) {
      const [low, high] = range.split("-").map(Number);
      found.sacks.push([at, low, high, s.n]);
    }
  }
  leave(Infinity);
  return found;
}

function samplesOf(host, flow) {
  return once(`samples ${host} ${flow}`, () => {
    const found = [];
    for (let n = 0; n < D.m.at.length; n++) if (D.m.host[n] === host && D.m.flow[n] === flow) found.push(n);
    return found;
  });
}

// What that side knew at that moment.
function lastSample(host, flow, at) {
  const list = samplesOf(host, flow);
  let low = 0, high = list.length;
  while (low < high) { const middle = (low + high) >> 1; if (D.m.at[list[middle]] <= at) low = middle + 1; else high = middle; }
  return low ? list[low - 1] : -1;
}

// What the connection of one side is in, from when to when.
function statesOf(host, flow) {
  const spans = [], before = D.before.get(`${host} ${flow}`);
  if (before) spans.push({ n: -1, at: before[0], until: null, state: before[4], error: before[5] });
  D.s.forEach(([at, of, flowOf, , state, error], n) => {
    if (of !== host || flowOf !== flow) return;
    if (spans.length) spans[spans.length - 1].until = at;
    spans.push({ n, at, until: null, state, error });
  });
  return spans;
}
