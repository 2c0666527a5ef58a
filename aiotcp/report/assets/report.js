"use strict";
// The page: what is chosen, in which language, in light or dark.
const say = (en, zh) => (view.language === "zh" ? zh : en);

function choose(n, scroll) {
  view.chosen = n;
  if (scroll) scrollTo(n);
  markRows();
  for (const made of plots.made) made.redraw(false);
  detail(n);
}

function hexDump(hex) {
  const lines = [];
  for (let at = 0; at < hex.length; at += 32) {
    const part = hex.slice(at, at + 32).match(/../g) || [];
    lines.push(`${(at / 2).toString(16).padStart(4, "0")}  ${part.join(" ")}`);
  }
  return lines.join("\n");
}

function detail(n) {
  const box = document.getElementById("detail");
  box.hidden = n < 0;
  box.replaceChildren();
  if (n < 0) return;
  const s = segment(n);
  const close = element("button", "close", "×");
  close.type = "button"; close.title = say("close", "关闭");
  close.addEventListener("click", () => choose(-1, false));
  box.append(close, element("h3", "", `${D.hosts[s.from]} → ${D.hosts[s.to]}  ${s.flags}`));
  if (s.why) {
    const known = D.explain[s.why];
    const reason = element("div", "reason");
    reason.append(element("strong", "", s.why), element("div", "", known ? known[view.language] : ""));
    if (known && known.rfc) reason.append(element("small", "", known.rfc));
    box.append(reason);
  }
  const table = element("table");
  const row = (name, value) => {
    if (value === "" || value === null || value === undefined) return;
    const made = element("tr");
    made.append(element("td", "", name), element("td", "", String(value)));
    table.append(made);
  };
  row(say("sent", "发送时间"), `${s.at.toFixed(6)} s`);
  row(say("arrived", "到达时间"), s.came === null ? "" : `${s.came.toFixed(6)} s`);
  row(say("fate", "结局"), s.fate);
  row(say("discarded", "丢弃原因"), s.drop);
  row(say("sequence", "序号"), s.len ? `${s.seq} … ${s.seq + s.len - 1}` : s.seq);
  row(say("acknowledges", "确认号"), s.ack);
  row(say("window", "窗口"), s.win);
  row(say("text", "数据"), s.len ? `${s.len} ${say("bytes", "字节")}` : "");
  row(say("options", "选项"), s.opt);
  row("ECN", s.ecn);
  const before = lastSample(s.from, s.flow, s.at);
  if (before >= 0) {
    const m = D.m;
    row("cwnd", `${m.cwnd[before]}, ssthresh ${m.ssthresh[before] === null ? "∞" : m.ssthresh[before]}`);
    row(say("in flight", "在途"), m.flight[before]);
    row("SRTT, RTO", `${m.srtt[before] === null ? "–" : (m.srtt[before] * 1000).toFixed(3)}, ${(m.rto[before] * 1000).toFixed(1)} ms`);
    const until = m.until[before];
    row(say("then waits for", "随后等待"), `${W(m.waits[before])}${until === null ? "" : `, ${say("until", "直到")} ${until.toFixed(3)} s`}`);
  }
  box.append(table);
  if (s.head) box.append(element("pre", "", hexDump(s.head)));
}

// What the sender knew when it had sent.
function lastSample(host, flow, at) {
  let found = -1;
  for (const n of samplesOf(host, flow)) if (D.m.at[n] <= at) found = n; else break;
  return found;
}

function about() {
  document.getElementById("title").textContent = D.title || "TCP";
  const line = document.getElementById("about");
  line.replaceChildren();
  const parts = [];
  if (D.seed) parts.push(`${say("seed", "种子")} ${D.seed}`);
  parts.push(`${D.p.at.length} ${say("segments", "个报文段")}`);
  if (D.epoch !== null) parts.push(new Date(D.epoch * 1000).toISOString().replace("T", " ").slice(0, 19) + " UTC");
  for (const fault of D.f.slice(0, 3)) parts.push(fault[2]);
  parts.push(...D.notes);
  line.append(parts.join(" · "));
  if (D.replay) {
    const replay = element("code", "", D.replay);
    replay.title = say("copy", "复制");
    replay.addEventListener("click", () => navigator.clipboard && navigator.clipboard.writeText(D.replay));
    line.append(" · ", replay);
  }
}

function options_() {
  const flows = document.getElementById("flow"), sides = document.getElementById("side");
  flows.replaceChildren();
  if (D.flows.length > 1) flows.append(new Option(say("all", "全部"), -1));
  D.flows.forEach((flow, n) => { const made = new Option(flow.name, n); made.title = flow.ends; flows.append(made); });
  flows.value = view.flow;
  sides.replaceChildren();
  const flow = D.flows[Math.max(view.flow, 0)];
  if (flow) { sides.append(new Option(flow.client, 0), new Option(flow.server, 1)); sides.value = view.side; }
}

function speak() {
  document.documentElement.lang = view.language === "zh" ? "zh-CN" : "en";
  for (const made of document.querySelectorAll("[data-en]")) made.textContent = made.dataset[view.language];
  document.getElementById("language").textContent = view.language === "zh" ? "English" : "中文";
}

function whole() {
  speak(); about(); options_(); layoutLadder(); drawAll(); detail(view.chosen);
}

// Whoever has sent more text is the one to look at.
function busiest() {
  const flow = D.flows[Math.max(view.flow, 0)];
  if (!flow) return 0;
  const sent = [0, 0], client = D.hosts.indexOf(flow.client);
  for (let n = 0; n < D.p.at.length; n++) if (D.p.flow[n] === Math.max(view.flow, 0)) sent[D.p.from[n] === client ? 0 : 1] += D.p.len[n];
  return sent[1] > sent[0] ? 1 : 0;
}

function theme(wanted) {
  const dark = wanted === "auto" ? matchMedia("(prefers-color-scheme: dark)").matches : wanted === "dark";
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}

addEventListener("DOMContentLoaded", () => {
  theme("auto");
  view.side = busiest();
  if ((navigator.language || "").startsWith("zh")) view.language = "zh";
  whole();
  document.getElementById("rows").addEventListener("scroll", showRows, { passive: true });
  document.getElementById("flow").addEventListener("change", (event) => { view.flow = +event.target.value; view.side = busiest(); whole(); });
  document.getElementById("side").addEventListener("change", (event) => { view.side = +event.target.value; drawAll(); });
  document.getElementById("language").addEventListener("click", () => { view.language = view.language === "zh" ? "en" : "zh"; whole(); });
  document.getElementById("theme").addEventListener("click", () => { theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"); drawAll(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { theme("auto"); drawAll(); });
  document.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") { step(1); event.preventDefault(); }
    else if (event.key === "ArrowUp") { step(-1); event.preventDefault(); }
    else if (event.key === "Escape") choose(-1, false);
  });
  let waiting = 0;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(() => { layoutLadder(); drawAll(); }, 150); });
});
