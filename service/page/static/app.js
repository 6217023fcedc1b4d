// The operator's page. The token stays in this module's memory.
const API = "api/v1.1/admin/senders/queue/";
const STATUSES = ["new", "proc", "retry", "hold"];
const MINUTES = 15;
const REFRESH_MS = 2000;
const BACK_MS = 1000;

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
let token = null;
let view = { stop: () => {} };

class Refused extends Error {}

async function call(path, { body, signal, headers } = {}) {
  const options = { headers: { Authorization: `Bearer ${token}`, ...headers }, signal };
  if (body) Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  const response = await fetch(API + path, options);
  if (response.ok) return response;
  const { error_text } = await response.json().catch(() => ({ error_text: `HTTP ${response.status}` }));
  throw Object.assign(new Refused(error_text), { status: response.status });
}

const ask = async (path, options) => (await call(path, options)).json();

function show(error) {
  $("error").hidden = !error;
  $("error").textContent = error ? `${error}.`.replace(/\.\.$/, ".") : "";
}

// Tables -------------------------------------------------------------------------------------------------------------

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== null) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

class CountTable {
  constructor(table, link) {
    this.table = table;
    this.key = table.dataset.by === "isp" ? "isp" : `${table.dataset.by}_id`;
    this.link = link;
    this.order = "total";
    this.rows = [];
    const head = element("tr", null);
    for (const column of [this.key, ...STATUSES, "total"]) {
      const cell = element("th", null, { scope: "col" });
      const button = element("button", column === this.key ? table.dataset.by : column, { type: "button" });
      button.addEventListener("click", () => this.sortBy(column));
      cell.append(button);
      cell.dataset.column = column;
      head.append(cell);
    }
    head.append(element("th", "share", { scope: "col" }));
    this.body = element("tbody", null);
    const top = element("thead", null);
    top.append(head);
    table.replaceChildren(top, this.body);
    this.draw();
  }

  sortBy(column) {
    this.order = column;
    this.draw();
    this.onSort?.();
  }

  fill(rows) {
    this.rows = rows;
    this.draw();
  }

  draw() {
    for (const cell of this.table.querySelectorAll("th[data-column]")) {
      if (cell.dataset.column === this.order) cell.setAttribute("aria-sort", this.order === this.key ? "ascending" : "descending");
      else cell.removeAttribute("aria-sort");
    }
    const by = this.order;
    const rows = [...this.rows].sort((a, b) => (by === this.key ? (a[by] > b[by]) - (a[by] < b[by]) : b[by] - a[by]));
    const most = Math.max(1, ...rows.map((row) => row.total));
    this.body.replaceChildren(...rows.map((row) => this.line(row, most)));
  }

  line(row, most) {
    const line = element("tr", null);
    const name = this.key === "isp" ? row.isp || "(none)" : row[this.key] || "none";
    const first = element("td", this.link ? null : name);
    if (this.link) first.append(element("a", name, { href: this.link(row[this.key]) }));
    line.append(first, ...[...STATUSES, "total"].map((column) => element("td", number.format(row[column]))));
    const share = element("td", null);
    share.append(element("meter", null, { value: row.total, max: most, "aria-label": `${number.format(row.total)} of ${number.format(most)}` }));
    line.append(share);
    return line;
  }
}

function fillPlain(table, columns, rows, empty) {
  const head = element("tr", null);
  head.append(...columns.map((column) => element("th", column.replaceAll("_", " "), { scope: "col" })));
  const top = element("thead", null);
  top.append(head);
  const body = element("tbody", null);
  for (const row of rows) {
    const line = element("tr", null);
    line.append(...columns.map((column) => element("td", row[column] ?? "")));
    body.append(line);
  }
  if (!rows.length) {
    const line = element("tr", null);
    line.append(element("td", empty, { colspan: columns.length }));
    body.append(line);
  }
  table.replaceChildren(top, body);
}

// Repeats until it is stopped. An outage is told where the person is looking, and waited for.
function repeat(work, signal) {
  const step = async () => {
    try {
      await work();
      show("");
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401) return logOut(error.message);
      show(error.message);
    }
    if (!signal.aborted) setTimeout(step, REFRESH_MS);
  };
  step();
}

// The largest senders ------------------------------------------------------------------------------------------------

const senders = new CountTable(document.querySelector("table[data-by=sender]"), (id) => `#/sender/${id}`);

function showSenders(signal) {
  $("title").textContent = "Largest senders";
  $("senders").hidden = false;
  const look = async () => {
    const order = senders.order === "sender_id" ? "total" : senders.order;
    senders.fill((await ask(`top/?limit=100&order=${order}`, { signal })).data);
  };
  senders.onSort = () => look().catch(() => {});
  repeat(look, signal);
}

// One sender ---------------------------------------------------------------------------------------------------------

const tables = ["account", "campaign", "isp"].map((by) => new CountTable(document.querySelector(`table[data-by=${by}]`)));

class Chart {
  constructor() {
    this.points = [[], [], [], [], []];
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => {
      const probe = element("span", null);
      probe.style.color = `var(--${name})`;
      document.body.append(probe);
      const found = getComputedStyle(probe).color;
      probe.remove();
      return found;
    };
    const axis = { stroke: colour("quiet"), grid: { stroke: colour("line") } };
    this.plot = new uPlot({
      width: $("chart").clientWidth || 600,
      height: 240,
      scales: { y: { range: (plot, low, high) => [0, Math.max(1, high) * 1.1] }, x: { range: () => [Date.now() / 1000 - MINUTES * 60, Date.now() / 1000] } },
      axes: [axis, { ...axis, size: 70 }],
      series: [{}, ...STATUSES.map((status) => ({ label: status, stroke: colour(status), width: 2 }))],
    }, this.points, $("chart"));
    this.resized = new ResizeObserver(() => this.plot.setSize({ width: $("chart").clientWidth, height: 240 }));
    this.resized.observe($("chart"));
  }

  add(at, row) {
    this.points[0].push(at);
    STATUSES.forEach((status, index) => this.points[index + 1].push(row[status]));
    while (this.points[0][0] < at - MINUTES * 60) this.points.forEach((series) => series.shift());
    this.plot.setData(this.points);
  }

  stop() {
    this.resized.disconnect();
    this.plot.destroy();
  }
}

// Rises and falls of the total from one report to the next, over the last minute.
class Rates {
  constructor() {
    this.steps = [];
    this.last = null;
  }

  add(at, total) {
    if (this.last) this.steps.push({ at, seconds: at - this.last.at, change: total - this.last.total });
    this.last = { at, total };
    while (this.steps.length && this.steps[0].at < at - 60) this.steps.shift();
    const seconds = this.steps.reduce((sum, step) => sum + step.seconds, 0);
    if (!seconds) return;
    const sum = (sign) => this.steps.reduce((total_, step) => total_ + Math.max(0, sign * step.change), 0) / seconds;
    const [arrived, left] = [sum(1), sum(-1)];
    $("arrived").textContent = number.format(Math.round(arrived * 10) / 10);
    $("left").textContent = number.format(Math.round(left * 10) / 10);
    $("empty").textContent = total === 0 ? "now" : left > arrived ? duration(total / (left - arrived)) : "never";
  }
}

function duration(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

async function* events(path, signal) {
  const reader = (await call(path, { signal })).body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const parts = text.split(/\r?\n\r?\n/);
    text = parts.pop();
    for (const part of parts) {
      const fields = Object.fromEntries(part.split(/\r?\n/).filter((line) => line && !line.startsWith(":")).map((line) => line.split(/: (.*)/s)));
      if (fields.data) yield { name: fields.event, data: JSON.parse(fields.data) };
    }
  }
}

async function follow(sender, signal, onReport) {
  while (!signal.aborted) {
    try {
      for await (const { name, data } of events(`stream/?id=${sender}&interval_ms=1000`, signal)) {
        if (name === "error") {
          $("state").textContent = "waiting for the database";
          show(data.error_text);
          if (data.error === 401) return logOut(data.error_text);
        } else {
          $("state").textContent = "live";
          show("");
          onReport(data);
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401) return logOut(error.message);
      $("state").textContent = "not connected";
      show(error instanceof Refused ? error.message : "The service does not answer");
      if (error.status === 400 || error.status === 403) return;
    }
    await new Promise((resolve) => setTimeout(resolve, BACK_MS));
  }
}

function showSender(sender, signal) {
  $("title").textContent = `Sender ${sender}`;
  $("sender").hidden = false;
  for (const id of ["arrived", "left", "empty", ...[...STATUSES, "total"].map((each) => `count-${each}`)]) $(id).textContent = "–";
  const chart = new Chart();
  const rates = new Rates();
  signal.addEventListener("abort", () => chart.stop());
  let last = null;
  const draw = (row) => {
    const now = Date.now() / 1000;
    chart.add(now, row);
    rates.add(now, row.total);
  };
  follow(sender, signal, ({ data: [row] }) => {
    for (const column of [...STATUSES, "total"]) $(`count-${column}`).textContent = number.format(row[column]);
    last = row;
    draw(row);
  });
  // The stream is silent while nothing changes; time goes on all the same.
  const clock = setInterval(() => last && draw(last), 1000);
  signal.addEventListener("abort", () => clearInterval(clock));
  const look = async () => {
    await Promise.all(tables.map(async (table) => table.fill((await ask(`top/?by=${table.table.dataset.by}&id=${sender}&limit=1000`, { signal })).data)));
    await showControl(sender, signal);
  };
  repeat(look, signal);
  $("act").onsubmit = (event) => count(event, sender);
}

// Hold, release, purge -----------------------------------------------------------------------------------------------

async function showControl(sender, signal) {
  try {
    const jobs = await ask("jobs/", { body: { id: sender }, signal });
    const holds = await ask("holds/", { body: { id: sender }, signal });
    $("control").hidden = false;
    fillPlain($("holds"), ["id", "account_id", "campaign_id", "isp", "messages", "reason", "created_by", "expires_at"], holds.data, "No hold is active.");
    fillPlain($("jobs"), ["id", "action", "state", "changed", "matched", "requested_by"], jobs.data, "No job yet.");
  } catch (error) {
    if (error.status !== 403) throw error;
    $("control").hidden = true;
  }
}

const filter = (sender) => ({
  id: sender,
  account_id: $("account_id").value || 0,
  campaign_id: $("campaign_id").value || 0,
  isp: $("isp").value,
});

async function count(event, sender) {
  event.preventDefault();
  const action = $("action").value;
  const asked = filter(sender);
  try {
    const { details } = await ask(`${action}/`, { body: { ...asked, dry_run: 1 } });
    const hits = Object.entries(details).map(([status, hit]) => `${number.format(hit)} ${status}`).join(", ");
    $("hit").textContent = `${action} hits ${hits}.`;
    $("confirm").hidden = false;
    $("confirm").textContent = `Confirm ${action}`;
    $("confirm").onclick = () => act(action, asked);
  } catch (error) {
    show(error.message);
  }
}

async function act(action, asked) {
  $("confirm").hidden = true;
  $("hit").textContent = `${action} is being carried out …`;
  const reason = action === "hold" ? { reason: $("reason").value } : {};
  try {
    const { details } = await ask(`${action}/`, { body: { ...asked, ...reason, details: 1 } });
    $("hit").textContent = `${action}: ${number.format(details.messages)} messages, job ${details.job_id}.`;
  } catch (error) {
    $("hit").textContent = "";
    show(error.message);
  }
}

// Where the person is ------------------------------------------------------------------------------------------------

function route() {
  view.stop();
  const stopping = new AbortController();
  view = { stop: () => stopping.abort() };
  show("");
  $("state").textContent = "";
  for (const id of ["log-in", "senders", "sender", "control"]) $(id).hidden = true;
  $("go").hidden = $("log-out").hidden = token === null;
  if (token === null) {
    $("title").textContent = "Log in";
    $("log-in").hidden = false;
    $("token").focus();
    return;
  }
  const found = /^#\/sender\/(\d+)$/.exec(location.hash);
  if (found) showSender(Number(found[1]), stopping.signal);
  else showSenders(stopping.signal);
}

function logOut(reason) {
  token = null;
  route();
  show(reason ?? "");
}

$("log-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  try {
    await ask("top/?limit=1");
  } catch (error) {
    // A token that is limited to accounts may see no ranking, and its senders all the same.
    if (error.status !== 403) {
      token = null;
      return show(error instanceof Refused ? error.message : "The service does not answer");
    }
  }
  $("token").value = "";
  route();
});
$("go").addEventListener("submit", (event) => {
  event.preventDefault();
  location.hash = `#/sender/${$("go-sender").value}`;
});
$("log-out").addEventListener("click", () => logOut());
addEventListener("hashchange", route);
route();
