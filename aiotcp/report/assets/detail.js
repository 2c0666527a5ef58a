"use strict";
// What is chosen, and everything that is known about it.
function choose(row, from) {
  view.chosen = row;
  const flow = row && row[0] === "p" ? D.p.flow[row[1]] : row && row[0] === "s" ? D.s[row[1]][2] : view.plot;
  if (view.flow < 0 && flow !== view.plot) { view.plot = flow; view.side = busiest(); fillChoices(); fillPlots(); }
  detail();
  markRows();
  if (row) {
    if (from !== "ladder" && placeOf(row) < 0 && view.find) { view.find = byId("find").value = ""; layoutLadder(); }
    scrollToChosen();
    const at = momentOf(row);
    if (view.zoom && from !== "plot" && (at < view.zoom[0] || at > view.zoom[1])) { const half = (view.zoom[1] - view.zoom[0]) / 2; zoomTo([at - half, at + half]); }
  }
  redrawPlots();
}

function octets(text) {
  const raw = atob(text), found = [];
  for (let at = 0; at < raw.length; at++) found.push(raw.charCodeAt(at).toString(16).padStart(2, "0"));
  return found;
}

function hexDump(found) {
  const lines = [];
  for (let at = 0; at < found.length; at += 16) lines.push(`${at.toString(16).padStart(4, "0")}  ${found.slice(at, at + 8).join(" ")}  ${found.slice(at + 8, at + 16).join(" ")}`);
  return lines.join("\n");
}

function reason(name, known, kind) {
  const box = element("div", `reason ${kind}`);
  box.append(element("strong", "", name));
  if (known) box.append(element("div", "", known[view.language]));
  if (known && known.rfc) {
    const line = element("small");
    // The number alone is where the text can be found; the page itself needs no network.
    line.textContent = known.rfc;
    box.append(line);
  }
  return box;
}

function detail() {
  const box = byId("detail");
  box.hidden = !view.chosen;
  box.replaceChildren();
  if (!view.chosen) return;
  const [kind, n] = view.chosen;
  const left = element("div", "left"), table = element("table");
  const row = (name, value) => {
    if (value === "" || value === null || value === undefined) return;
    const made = element("tr");
    made.append(element("th", "", name), element("td", "", String(value)));
    table.append(made);
  };
  const close = element("button", "close", "×");
  close.type = "button"; close.title = say("close (Esc)", "关闭 (Esc)"); close.setAttribute("aria-label", close.title);
  close.addEventListener("click", () => choose(null, "keys"));
  let heading;
  if (kind === "p") heading = segmentDetail(segment(n), left, row);
  else if (kind === "s") {
    const [at, host, flow, old, state, error] = D.s[n];
    heading = `${D.hosts[host]}  ${old} → ${state}`;
    row(say("at", "时间"), `${at.toFixed(6)} s`);
    row(say("because of", "原因"), error);
    if (D.flows[flow]) row(say("connection", "连接"), D.flows[flow].ends);
    known(host, flow, at, row);
  } else if (kind === "g") {
    const [at, until, count] = D.g[n];
    heading = say("Not shown", "未显示");
    row(say("segments", "报文段"), count);
    row(say("from", "从"), `${at.toFixed(6)} s`);
    row(say("until", "直到"), `${until.toFixed(6)} s`);
    left.append(element("p", "", say("The live view takes so many segments a second, so that it costs next to nothing; of more, it shows some.", "实时视图每秒只取一定数量的报文段，因此几乎没有开销；超出时抽样显示。")));
  } else {
    const [at, host, text, until] = D[kind][n];
    heading = kind === "f" ? say("Done to the network", "对网络的操作") : `${D.hosts[host]}${say(": its program", " 的程序")}`;
    if (kind === "f" && host >= 0) heading = say(`Done to ${D.hosts[host]}`, `对 ${D.hosts[host]} 的操作`);
    row(kind === "f" ? say("what", "内容") : say("said", "说"), spoken(text));
    row(say("at", "时间"), `${at.toFixed(6)} s`);
    if (kind === "f" && until !== null) row(say("until", "直到"), `${until.toFixed(6)} s`);
  }
  left.append(table);
  box.append(close, element("h3", "", heading), left);
  if (kind === "p" && D.p.head[n]) {
    const found = octets(D.p.head[n]), right = element("div", "right");
    right.append(element("h4", "", say(`IP and TCP headers, ${found.length} bytes`, `IP 与 TCP 首部，${found.length} 字节`)), element("pre", "", hexDump(found)));
    box.append(right);
  }
}

function segmentDetail(s, box, row) {
  if (s.why) box.append(reason(s.why, D.explain.why[s.why], "why"));
  if (s.drop) box.append(reason(`${say("dropped", "丢弃")}: ${s.drop}`, D.explain.drop[s.drop], "drop"));
  const sent = `${s.at.toFixed(6)} s`;
  row(say("sent", "发送"), s.came === null ? sent : `${sent}, ${say("arrived", "到达")} ${s.came.toFixed(6)} s (+${millis((s.came - s.at) * 1000)})`);
  row(say("fate", "结局"), s.fate && fateOf(s.fate));
  row(say("sequence", "序号"), s.len ? `${s.seq} … ${s.seq + s.len - 1}${say(`, ${s.len} bytes`, `，${s.len} 字节`)}` : s.seq);
  row(say("acknowledges", "确认号"), s.ack);
  row(say("window", "窗口"), s.win);
  row(say("options", "选项"), s.opt.split(" ").join(", "));
  row("ECN", s.ecn);
  if (flowsSeen().size > 1) row(say("connection", "连接"), D.flows[s.flow].ends);
  known(s.from, s.flow, s.at, row);
  return `${D.hosts[s.from]} → ${D.hosts[s.to]}  ${s.flags}`;
}

// `aiotcp/waiting.py` in Chinese; N stands for a number.
const WAITS = {
  "end of 2MSL": "2MSL 结束", "ACK of our SYN": "对我方 SYN 的确认", "answer to our SYN": "对我方 SYN 的回答", "ACK of N bytes": "对 N 字节的确认",
  "the peer's window to open": "对方打开窗口", "either side to send": "任何一方发送数据", "acknowledgment of our FIN": "对我方 FIN 的确认",
  "the peer to close": "对方关闭", "our program to close": "本机程序关闭", "our program to read N bytes": "本机程序读取 N 字节", nothing: "无",
  "delayed ACK to leave": "延迟确认到时发出", "ACK, or tail loss probe": "确认，否则发送尾部丢失探测", "what was overtaken, or it counts as lost": "被超越的报文段到达，否则视为丢失",
  pacing: "发送节拍", "the peer to close, as an orphan": "对方关闭（无程序的连接）", "user timeout": "用户超时", "cork to be pulled": "解除 cork", "data for the SYN": "随 SYN 发送的数据", "keep-alive": "保活探测",
};
function waitsFor(words) {
  const number = words.match(/\d+/), plain = words.replace(/\d+/, "N");
  return say(words, WAITS[words] || (WAITS[plain] || words).replace("N ", number ? `${number[0]} ` : "N "));
}

// What that side knew, then.
function known(host, flow, at, row) {
  const n = lastSample(host, flow, at), m = D.m;
  if (n < 0) return;
  row("cwnd", `${m.cwnd[n]}, ssthresh ${m.ssthresh[n] === null ? "∞" : m.ssthresh[n]}, ${say("in flight", "在途")} ${m.flight[n]}`);
  row("SRTT", `${m.srtt[n] === null ? "–" : millis(m.srtt[n] * 1000)}, RTO ${millis(m.rto[n] * 1000)}`);
  const until = m.until[n];
  if (until === null || until >= at) row(say("then waits for", "随后等待"), `${waitsFor(W(m.waits[n]))}${until === null ? "" : `, ${say("until", "直到")} ${until.toFixed(digits())} s`}`);
}
