// The live page: the table of connections, and one of them as it happens.
const live = { source: null, flow: "", rows: [], all: 0, most: 2000, over: false, paused: false, updates: 0, side: null };

function forget() {
  for (const name of SEGMENT) D.p[name].length = 0;
  for (const name of SAMPLE) D.m[name].length = 0;
  for (const kind of ["s", "a", "f", "g"]) D[kind].length = 0;
  D.before.clear(); D.order = ""; D.flows = []; D.hosts = []; D.lanes = [];
  view.chosen = view.zoom = null;
  view.decided.clear();
  made.clear();
}

function listen() {
  if (live.source) live.source.close();
  live.source = live.paused ? null : new EventSource(`events${live.flow ? `?flow=${live.flow}` : ""}`);
  live.over = false;
  if (!live.source) return status();
  live.source.onmessage = (event) => hear(JSON.parse(event.data));
  live.source.onopen = () => status();
  live.source.onerror = () => status(say("the connection to the program is gone; trying again …", "与程序的连接断开，正在重试……"));
}

function watch(flow) {
  live.flow = flow;
  live.side = null;
  live.paused = false;
  forget();
  byId("rows").closest("main").hidden = false;
  byId("side").closest("label").hidden = false;
  whole();
  listen();
}

function hear(told) {
  live.updates++;
  if (told.begins) forget();
  if (told.table) { live.rows = told.table.rows; live.all = told.table.all; table(); }
  if (!told.news) return;
  if (told.news.over) live.over = true;
  const box = byId("rows"), atEnd = box.scrollTop + box.clientHeight > box.scrollHeight - 3 * ROW;
  if (told.news.p) take(told.news);
  const cut = keep(live.most);
  const side = live.side === null ? busiest() : live.side;
  if (told.begins || side !== view.side) { view.side = side; fillChoices(); detail(); }
  about(); status();
  layoutLadder();
  box.scrollTop = atEnd && !view.chosen ? box.scrollHeight : box.scrollTop - cut * ROW;
  showRows();
  fillPlots();
}

function status(words) {
  const gap = D.g.reduce((sum, one) => sum + one[2], 0);
  const parts = [words, live.paused ? say("paused", "已暂停") : "", live.over ? say("this connection is over", "该连接已结束") : ""];
  if (gap) parts.push(say(`sampled: ${gap} segments are not shown`, `抽样显示：${gap} 个报文段未显示`));
  byId("status").textContent = parts.filter(Boolean).join(" · ");
  byId("pause").textContent = live.paused ? say("Go on", "继续") : say("Pause", "暂停");
  byId("pause").hidden = !live.flow || live.over;
  byId("hint").textContent = live.flow ? "" : live.rows.length
    ? say("Choose a connection: its ladder and its graphs are shown here as it happens.", "请选择一个连接：它的梯形图和曲线图将实时显示在这里。")
    : say("No connection is open. Each one appears above as it begins.", "目前没有连接。新的连接会立即出现在上面。");
  byId("count").textContent = live.all > live.rows.length ? say(`the newest ${live.rows.length} of ${live.all}`, `共 ${live.all} 个，显示最新的 ${live.rows.length} 个`) : "";
}

const WORKER = 12; // where a row has it
const COLUMNS = [["local", "本地"], ["peer", "对方"], ["state", "状态"], ["sent", "已发送"], ["received", "已接收"], ["RTT", "RTT"], ["cwnd", "拥塞窗口"], ["repeated", "重传"], ["age", "时长"], ["waits for", "等待"]];

function table() {
  const head = element("tr");
  COLUMNS.forEach(([en, zh], n) => { const cell = element("th", n > 2 && n < 9 ? "n" : "", say(en, zh)); cell.scope = "col"; head.append(cell); });
  const workers = live.rows.some((row) => row.length > WORKER);
  if (workers) head.append(element("th", "n", say("worker", "进程")));
  byId("head-row").replaceChildren(head);
  const body = byId("connections-body"), focused = document.activeElement && document.activeElement.dataset.flow;
  body.replaceChildren(...live.rows.map(([flow, local, peer, state, sent, received, rtt, cwnd, again, age, waits, until, worker]) => {
    const row = element("tr", flow && flow === live.flow ? "chosen" : ""), name = element("td");
    if (flow) {
      const button = element("button", "pick", local);
      button.type = "button"; button.dataset.flow = flow;
      button.setAttribute("aria-pressed", flow === live.flow);
      button.setAttribute("aria-label", `${local} ← ${peer}`);
      name.append(button);
    } else name.append(local);
    row.append(name);
    // Of what is half open or in TIME-WAIT, no more is kept than that.
    const cells = [peer, state, flow ? bytes(sent) : "–", flow ? bytes(received) : "–", rtt === null ? "–" : millis(rtt * 1000), cwnd ? bytes(cwnd) : "–", again || "–", flow || age ? `${age < 100 ? age.toFixed(1) : age.toFixed(0)} s` : "–", waitsFor(waits) + (until === null ? "" : ` ${until.toFixed(1)} s`)];
    cells.forEach((text, n) => row.append(element("td", n > 1 && n < 8 ? "n" : "", String(text))));
    if (workers) row.append(element("td", "n", String(worker)));
    row.addEventListener("click", () => { if (flow && flow !== live.flow) watch(flow); });
    return row;
  }));
  if (focused) { const again = [...body.querySelectorAll(".pick")].find((one) => one.dataset.flow === focused); if (again) again.focus(); }
  status();
}

function openLive() {
  D.title = "Live connections"; D.chinese[D.title] = "实时连接";
  begin();
  byId("flow").closest("label").hidden = byId("side").closest("label").hidden = byId("rows").closest("main").hidden = true;
  byId("language").addEventListener("click", () => { view.language = view.language === "zh" ? "en" : "zh"; whole(); table(); });
  byId("side").addEventListener("change", () => { live.side = view.side; });
  byId("pause").addEventListener("click", () => { live.paused = !live.paused; if (live.paused) listen(); else watch(live.flow); });
  whole(); table(); listen();
}
