"use strict";
// The data as the page uses it: rows of the ladder, and points of the plots, of the chosen flow.
const D = JSON.parse(document.getElementById("data").textContent);
const W = (n) => D.words[n];
const view = { flow: D.flows.length > 1 ? -1 : 0, side: 0, language: "en", chosen: -1 };

const LOST = new Set(["lost", "corrupted"]);

function segment(n) {
  const p = D.p;
  return {
    n, at: p.at[n], from: p.from[n], to: p.to[n], flow: p.flow[n], flags: W(p.flags[n]),
    seq: p.seq[n], ack: p.ack[n], win: p.win[n], len: p.len[n], opt: p.opt[n], why: W(p.why[n]),
    fate: W(p.fate[n]), drop: W(p.drop[n]), ecn: W(p.ecn[n]), again: p.again[n], came: p.came[n],
    head: p.head[n],
  };
}

function wordsOf(s) {
  let text = `${s.flags} seq=${s.seq}`;
  if (s.ack !== null) text += ` ack=${s.ack}`;
  if (!s.flags.includes("RST")) text += ` win=${s.win}`;
  if (s.len) text += ` len=${s.len}`;
  const sack = s.opt.split(" ").find((o) => o.startsWith("sack="));
  return sack ? `${text} ${sack}` : text;
}

// Rows of the ladder: [kind, index], in the order in which things happened.
function rowsOf(flow) {
  const next = { p: 0, s: 0, a: 0, f: 0 };
  const rows = [];
  for (const kind of D.order) {
    const n = next[kind]++;
    if (kind === "p" && flow >= 0 && D.p.flow[n] !== flow) continue;
    if (kind === "s" && flow >= 0 && D.s[n][2] !== flow) continue;
    rows.push([kind, n]);
  }
  return rows;
}

function lastMoment() {
  const ends = [D.p.at, D.m.at].map((list) => (list.length ? list[list.length - 1] : 0));
  for (const list of [D.s, D.a, D.f]) if (list.length) ends.push(list[list.length - 1][0]);
  return Math.max(...ends, 0.001);
}

// Who sends in the plots: the client (0) or the server (1) of the chosen flow.
function plotted() {
  const flow = view.flow < 0 ? 0 : view.flow;
  const ends = D.flows[flow];
  if (!ends) return null;
  const hosts = [ends.client, ends.server].map((name) => D.hosts.indexOf(name));
  return { flow, sender: hosts[view.side], receiver: hosts[1 - view.side] };
}

// The time–sequence graph as tcptrace draws it, seen from the sender.
function sequence() {
  const chosen = plotted();
  const made = { data: [], acks: [], edges: [], sacks: [] };
  if (!chosen) return made;
  let acked = 0, edge = 0;
  const answers = [];
  for (let n = 0; n < D.p.at.length; n++) {
    if (D.p.flow[n] !== chosen.flow) continue;
    const s = segment(n);
    if (s.from === chosen.sender) {
      const syn = s.flags.includes("SYN") ? 1 : 0, fin = s.flags.includes("FIN") ? 1 : 0;
      const size = s.len + syn + fin;
      if (size && !s.flags.includes("RST")) {
        made.data.push({ n, at: s.at, low: s.seq, high: s.seq + size, again: s.again, lost: LOST.has(s.fate), letter: syn ? "S" : fin ? "F" : s.again ? "R" : "" });
      } else if (s.flags.includes("RST")) {
        made.data.push({ n, at: s.at, low: s.seq, high: s.seq, again: 0, lost: LOST.has(s.fate), letter: "RST" });
      }
    } else if (s.ack !== null && !LOST.has(s.fate)) {
      answers.push([s.came === null ? s.at : s.came, s]);
    }
  }
  answers.sort((one, other) => one[0] - other[0]);
  for (const [at, s] of answers) {
    if (s.ack > acked) { acked = s.ack; made.acks.push([at, acked, s.n, false]); }
    else made.acks.push([at, acked, s.n, true]);
    edge = Math.max(edge, s.ack + s.win);
    made.edges.push([at, s.ack + s.win]);
    const sack = s.opt.split(" ").find((o) => o.startsWith("sack="));
    if (sack) for (const range of sack.slice(5).split(",")) {
      const [low, high] = range.split("-").map(Number);
      made.sacks.push([at, low, high, s.n]);
    }
  }
  return made;
}

function samplesOf(host, flow) {
  const found = [];
  for (let n = 0; n < D.m.at.length; n++) if (D.m.host[n] === host && D.m.flow[n] === flow) found.push(n);
  return found;
}

// What the connection of one side is in, from when to when.
function statesOf(host, flow) {
  const spans = [];
  for (const [at, of, flowOf, , state, error] of D.s) {
    if (of !== host || flowOf !== flow) continue;
    if (spans.length) spans[spans.length - 1].until = at;
    spans.push({ at, until: null, state: error ? `${state} ${error}` : state });
  }
  return spans;
}
