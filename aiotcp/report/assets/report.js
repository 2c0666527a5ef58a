"use strict";
// The page of a report: what is chosen, in which language, in light or dark.
function about() {
  byId("title").textContent = spoken(D.title) || "TCP";
  if (D.title) document.title = spoken(D.title);
  const line = byId("about"), parts = [];
  line.replaceChildren();
  if (D.seed) parts.push(`${say("seed", "种子")} ${D.seed}`);
  const [first, last] = moments();
  if (D.order) parts.push(say(`${D.p.at.length} segments in ${+(last - first).toPrecision(4)} s`, `${+(last - first).toPrecision(4)} 秒内 ${D.p.at.length} 个报文段`));
  const lost = D.p.fate.filter((fate) => LOST.has(W(fate))).length, again = D.p.again.filter(Boolean).length;
  if (lost) parts.push(say(`${lost} lost`, `丢失 ${lost} 个`));
  if (again) parts.push(say(`${again} sent again`, `重传 ${again} 个`));
  if (D.epoch !== null) parts.push(new Date(D.epoch * 1000).toISOString().replace("T", " ").slice(0, 19) + " UTC");
  parts.push(...D.notes.map(spoken));
  line.append(parts.join(" · "));
  const story = byId("story");
  if (story && D.question.en) {
    story.hidden = false;
    story.firstElementChild.textContent = D.question[view.language];
    story.lastElementChild.textContent = D.answer[view.language].replace(/\s*\n\s*/g, say(" ", ""));
  }
  if (D.replay) {
    const replay = element("button", "replay", D.replay);
    replay.type = "button";
    replay.title = say("replay command: a click copies it", "重放命令：点击复制");
    replay.addEventListener("click", () => { if (navigator.clipboard) navigator.clipboard.writeText(D.replay).catch(() => {}); });
    line.append(" ", replay);
  }
}

const flowsSeen = () => once("flows", () => new Set(D.p.flow));

function fillChoices() {
  const flows = byId("flow"), sides = byId("side");
  flows.replaceChildren();
  const seen = flowsSeen();
  if (seen.size !== 1) flows.append(new Option(say("all", "全部"), -1));
  D.flows.forEach((flow, n) => { if (!seen.has(n)) return; const one = new Option(seen.size > 1 ? `${n + 1}  ${flow.name}` : flow.name, n); one.title = flow.ends; flows.append(one); });
  flows.value = view.flow;
  sides.replaceChildren();
  const flow = D.flows[shownFlow()];
  if (flow) { sides.append(new Option(flow.client, 0), new Option(flow.server, 1)); sides.value = view.side; }
}

function speak() {
  document.documentElement.lang = view.language === "zh" ? "zh-CN" : "en";
  for (const one of document.querySelectorAll("[data-en]")) one.textContent = one.dataset[view.language];
  for (const one of document.querySelectorAll("[data-title-en]")) {
    one.title = view.language === "zh" ? one.dataset.titleZh : one.dataset.titleEn;
    one.setAttribute("aria-label", one.title);
    if ("placeholder" in one && one.type === "search") one.placeholder = one.title;
  }
  for (const one of document.querySelectorAll("[data-label-en]")) one.setAttribute("aria-label", one.dataset[view.language === "zh" ? "labelZh" : "labelEn"]);
  byId("language").textContent = view.language === "zh" ? "English" : "中文";
}

function whole() {
  speak(); about(); fillChoices(); detail(); layoutLadder(); fillPlots();
}

// Whoever has sent more text is the one to look at.
function busiest() {
  const at = shownFlow(), flow = D.flows[at];
  if (!flow) return 0;
  const sent = [0, 0], client = D.hosts.indexOf(flow.client);
  for (let n = 0; n < D.p.at.length; n++) if (D.p.flow[n] === at) sent[D.p.from[n] === client ? 0 : 1] += D.p.len[n];
  return sent[1] > sent[0] ? 1 : 0;
}

function theme(wanted) {
  const dark = wanted === "auto" ? matchMedia("(prefers-color-scheme: dark)").matches : wanted === "dark";
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  readPalette();
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select")) { if (event.key === "Escape") event.target.blur(); return; }
  const keys = {
    ArrowDown: () => step(1), ArrowUp: () => step(-1), j: () => step(1), k: () => step(-1),
    n: () => step(1, troubled), p: () => step(-1, troubled), Escape: () => choose(null, "keys"),
    "/": () => byId("find").focus(), "+": () => zoomBy(0.5), "=": () => zoomBy(0.5), "-": () => zoomBy(2),
    ArrowLeft: () => panBy(-0.25), ArrowRight: () => panBy(0.25), 0: () => zoomTo(null),
  };
  if (!(event.key in keys)) return;
  keys[event.key]();
  event.preventDefault();
}

// Everything that both pages, the report's and the live one's, have.
function begin() {
  theme("auto");
  if ((navigator.language || "").startsWith("zh")) view.language = "zh";
  makePlots();
  const redo = () => { layoutLadder(); sizePlots(); };
  byId("rows").addEventListener("scroll", showRows, { passive: true });
  byId("side").addEventListener("change", (event) => { view.side = +event.target.value; fillPlots(); });
  byId("find").addEventListener("input", (event) => { view.find = event.target.value; layoutLadder(); });
  byId("next").addEventListener("click", () => step(1, troubled));
  byId("whole").addEventListener("click", () => zoomTo(null));
  byId("plots").addEventListener("click", (event) => { const entry = event.target.closest(".entry"); if (entry) toggle(entry.dataset.name); });
  byId("theme").addEventListener("click", () => { theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"); redrawPlots(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { theme("auto"); redrawPlots(); });
  document.addEventListener("keydown", pressed);
  let waiting = 0;
  new ResizeObserver(() => sizePlots()).observe(byId("plots"));
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(redo, 120); });
  addEventListener("beforeprint", () => { document.documentElement.dataset.theme = "light"; readPalette(); redo(); redrawPlots(); });
  addEventListener("afterprint", () => { theme("auto"); redo(); redrawPlots(); });
}

function openReport() {
  take(JSON.parse(byId("data").textContent));
  view.flow = flowsSeen().size === 1 ? D.p.flow[0] : -1;
  view.plot = D.p.flow.length ? D.p.flow[0] : 0;
  begin();
  view.side = busiest();
  byId("flow").addEventListener("change", (event) => { view.flow = +event.target.value; view.side = busiest(); view.decided.clear(); whole(); });
  byId("language").addEventListener("click", () => { view.language = view.language === "zh" ? "en" : "zh"; whole(); });
  whole();
  // When it can be used, in milliseconds since it was opened.
  requestAnimationFrame(() => setTimeout(() => { document.documentElement.dataset.ready = performance.now().toFixed(0); }));
}
