// The operator's page. The token stays in this module's memory.
const API = "api/v1.1/admin/senders/queue/";
const STATUSES = ["new", "proc", "retry", "hold"];
const MINUTES = 15;
const REFRESH_MS = 2000;
const CONDITIONS_MS = 10000;
const BACK_MS = 1000;

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
// Ids reach 2^63 - 1, beyond the numbers of JavaScript: they stay strings here.
const SHOWN = { ids: "string", names: 1 };
let token = null;
// Ends with the view: what still arrives for it is dropped.
let view = new AbortController();

class Refused extends Error {}

async function call(path, signal, { body, secret = token, base = API } = {}) {
  const options = { headers: { Authorization: `Bearer ${secret}` }, signal };
  if (body) Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  const response = await fetch(base + path, options);
  if (response.ok) return response;
  const { error_text } = await response.json().catch(() => ({ error_text: `HTTP ${response.status}` }));
  signal?.throwIfAborted();
  throw Object.assign(new Refused(error_text), { status: response.status });
}

async function ask(path, signal, options) {
  const found = await (await call(path, signal, options)).json();
  signal?.throwIfAborted();
  return found;
}

const inUrl = (parameters) => new URLSearchParams({ ...parameters, ...SHOWN });

// One request at a time: the next one, `cancel` and the end of the view abort it.
class Latest {
  begin() {
    this.cancel();
    this.running = new AbortController();
    return AbortSignal.any([view.signal, this.running.signal]);
  }

  cancel() {
    this.running?.abort();
  }
}

const message = (error) => (error instanceof Refused ? error.message : "The service does not answer");
const labelled = (id, name) => (name ? `${name} (${id})` : id);

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

// Unchanged text is not replaced, so that a selection in it stays.
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

class CountTable {
  constructor(table, link) {
    this.table = table;
    this.by = table.dataset.by;
    this.key = this.by === "isp" ? "isp" : `${this.by}_id`;
    this.link = link;
    this.order = "total";
    this.rows = [];
    // Lines by key: a line is updated in place, so that the focus in it stays.
    this.lines = new Map();
    const head = element("tr", null);
    for (const column of [this.key, ...STATUSES, "total"]) {
      const cell = element("th", null, { scope: "col" });
      const button = element("button", column === this.key ? this.by : column, { type: "button" });
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
    const keyOf = (row) => (this.key === "isp" ? row.isp : BigInt(row[this.key]));
    const rows = [...this.rows].sort((a, b) => (by === this.key ? (keyOf(a) > keyOf(b)) - (keyOf(a) < keyOf(b)) : b[by] - a[by]));
    const most = Math.max(1, ...rows.map((row) => row.total));
    this.lines = new Map(rows.map((row) => [row[this.key], this.line(row, most)]));
    this.arrange([...this.lines.values()]);
  }

  line(row, most) {
    const id = row[this.key];
    const line = this.lines.get(id) ?? this.makeLine(id);
    const name = this.key === "isp" ? id || "(none)" : id === "0" ? "none" : labelled(id, row[`${this.by}_name`]);
    write(line.querySelector("a") ?? line.cells[0], name);
    [...STATUSES, "total"].forEach((column, index) => write(line.cells[index + 1], number.format(row[column])));
    const meter = line.querySelector("meter");
    Object.assign(meter, { max: most, value: row.total });
    meter.setAttribute("aria-label", `${number.format(row.total)} of ${number.format(most)}`);
    return line;
  }

  makeLine(id) {
    const line = element("tr", null);
    line.append(...[this.key, ...STATUSES, "total", "share"].map(() => element("td", null)));
    if (this.link) line.cells[0].append(element("a", null, { href: this.link(id) }));
    line.lastChild.append(element("meter", null));
    return line;
  }

  // Moving a line would take the focus from it, so the other lines are moved around the focused one.
  arrange(lines) {
    const wanted = new Set(lines);
    for (const line of [...this.body.children]) if (!wanted.has(line)) line.remove();
    if (lines.every((line, index) => this.body.children[index] === line)) return;
    const focused = lines.findIndex((line) => line.contains(document.activeElement));
    if (focused < 0) return this.body.replaceChildren(...lines);
    lines[focused].before(...lines.slice(0, focused));
    lines[focused].after(...lines.slice(focused + 1));
  }
}

function text(row, column) {
  const value = row[column] ?? "";
  const kind = row[`${column}_kind`];
  if (kind) return kind === value ? kind : `${kind} ${value}`;
  return column.endsWith("_id") ? labelled(value, row[column.replace(/_id$/, "_name")]) : value;
}

function fillPlain(table, columns, rows, empty) {
  const head = element("tr", null);
  head.append(...columns.map((column) => element("th", column.replaceAll("_", " "), { scope: "col" })));
  const top = element("thead", null);
  top.append(head);
  const body = element("tbody", null);
  for (const row of rows) {
    const line = element("tr", null);
    line.append(...columns.map((column) => element("td", text(row, column))));
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
      signal.throwIfAborted();
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

// The errors among the conditions of health. A token that is limited gets 403, and sees none.
async function watchConditions(signal) {
  const found = await ask("conditions", signal, { base: "" }).catch(() => ({ data: [] }));
  if (signal.aborted) return;
  const errors = found.data.filter(({ severity }) => severity === "error");
  $("conditions").replaceChildren(...errors.map(({ condition, finding, meaning }) => element("p", `${condition}: ${finding}. ${meaning}`)));
  $("conditions").hidden = !errors.length;
  setTimeout(() => signal.aborted || watchConditions(signal), CONDITIONS_MS);
}

// The largest senders ------------------------------------------------------------------------------------------------

const senders = new CountTable(document.querySelector("table[data-by=sender]"), (id) => `#/sender/${id}`);

function showSenders(signal) {
  $("title").textContent = "Largest senders";
  $("senders").hidden = false;
  senders.fill([]);
  const orderOf = () => (senders.order === "sender_id" ? "total" : senders.order);
  const look = async () => {
    const order = orderOf();
    const { data } = await ask(`top/?${inUrl({ limit: 100, order })}`, signal);
    // Another order may have been chosen since.
    if (order === orderOf()) senders.fill(data);
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
  const reader = (await call(path, signal)).body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      const parts = text.split(/\r?\n\r?\n/);
      text = parts.pop();
      for (const part of parts) {
        const fields = Object.fromEntries(part.split(/\r?\n/).filter((line) => line && !line.startsWith(":")).map((line) => line.split(/: (.*)/s)));
        signal.throwIfAborted();
        if (fields.data) yield { name: fields.event, data: JSON.parse(fields.data) };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function follow(sender, signal, onReport) {
  while (!signal.aborted) {
    try {
      for await (const { name, data } of events(`stream/?${inUrl({ id: sender, interval_ms: 1000 })}`, signal)) {
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
      show(message(error));
      if (error.status === 400 || error.status === 403) return;
    }
    await new Promise((resolve) => setTimeout(resolve, BACK_MS));
  }
}

function showSender(sender, signal) {
  $("title").textContent = `Sender ${sender}`;
  $("sender").hidden = false;
  // Nothing of the former sender is left while the first responses are under way.
  for (const id of ["arrived", "left", "empty", ...[...STATUSES, "total"].map((each) => `count-${each}`)]) $(id).textContent = "–";
  for (const table of tables) table.fill([]);
  for (const id of ["holds", "jobs", "outcome"]) $(id).replaceChildren();
  $("act").reset();
  const chart = new Chart();
  const rates = new Rates();
  signal.addEventListener("abort", () => chart.stop());
  let last = null;
  const draw = (row) => {
    const now = Date.now() / 1000;
    chart.add(now, row);
    rates.add(now, row.total);
  };
  let name = null;
  follow(sender, signal, ({ data: [row] }) => {
    name = row.sender_name;
    $("title").textContent = `Sender ${labelled(sender, name)}`;
    for (const column of [...STATUSES, "total"]) $(`count-${column}`).textContent = number.format(row[column]);
    last = row;
    draw(row);
  });
  // The stream is silent while nothing changes; time goes on all the same.
  const clock = setInterval(() => last && draw(last), 1000);
  signal.addEventListener("abort", () => clearInterval(clock));
  const look = async () => {
    const fill = async (table) => table.fill((await ask(`top/?${inUrl({ by: table.by, id: sender, limit: 1000 })}`, signal)).data);
    await Promise.all(tables.map(fill));
    await showControl(sender, signal);
  };
  repeat(look, signal);
  $("act").onsubmit = (event) => {
    event.preventDefault();
    count(sender, name);
  };
}

// Hold, release, purge -----------------------------------------------------------------------------------------------

async function showControl(sender, signal) {
  try {
    const body = { id: sender, ...SHOWN };
    const jobs = await ask("jobs/", signal, { body });
    const holds = await ask("holds/", signal, { body });
    $("control").hidden = false;
    fillPlain($("holds"), ["id", "account_id", "campaign_id", "isp", "messages", "reason", "created_by", "expires_at"], holds.data, "No hold is active.");
    fillPlain($("jobs"), ["id", "action", "state", "changed", "matched", "failed", "waits_for", "error", "requested_by"], jobs.data, "No job yet.");
  } catch (error) {
    if (error.status !== 403) throw error;
    $("control").hidden = true;
  }
}

const counting = new Latest();

// What was counted is not to be confirmed any more: the form or the view is another one.
function disarm() {
  counting.cancel();
  $("hit").replaceChildren();
  $("confirm").hidden = true;
  $("confirm").onclick = null;
  $("confirm").replaceChildren();
}

// The action and the messages that it is for, as the form has them now. A filter without a value is left out.
function readForm(sender, name) {
  const filled = ["account_id", "campaign_id", "isp"].map((id) => [id, $(id).value]).filter(([, value]) => value);
  const action = $("action").value;
  const reason = action === "hold" && $("reason").value ? { reason: $("reason").value } : {};
  return { action, name, filter: Object.freeze({ id: sender, ...Object.fromEntries(filled) }), reason };
}

// An ISP may be written from right to left: its own element keeps it from turning the words around it.
function inWords({ name, filter: { id, account_id, campaign_id, isp } }) {
  const words = [`sender ${labelled(id, name)}`];
  if (account_id) words.push(`account ${account_id}`);
  if (campaign_id) words.push(`campaign ${campaign_id}`);
  if (!account_id && !campaign_id && !isp) words.push("the whole queue");
  return isp ? [`${words.join(", ")}, ISP `, element("bdi", isp)] : [words.join(", ")];
}

const messages = (count) => `${number.format(count)} ${count === 1 ? "message" : "messages"}`;

async function count(sender, name) {
  disarm();
  const signal = counting.begin();
  const form = readForm(sender, name);
  try {
    const { details } = await ask(`${form.action}/`, signal, { body: { ...form.filter, dry_run: 1 } });
    const counts = Object.entries(details).filter(([name]) => !name.startsWith("left_"));
    const matched = counts.reduce((sum, [, hit]) => sum + hit, 0);
    const hits = counts.map(([status, hit]) => `${number.format(hit)} ${status}`).join(", ");
    const body = Object.freeze({ ...form.filter, ...form.reason, details: 1, at_most: matched });
    const request = Object.freeze({ ...form, body });
    $("hit").replaceChildren(`${form.action} hits ${messages(matched)} of `, ...inWords(request), `: ${hits}.`);
    $("confirm").replaceChildren(`Confirm ${form.action} of ${messages(matched)}: `, ...inWords(request));
    $("confirm").onclick = () => act(request, view.signal);
    $("confirm").hidden = false;
  } catch (error) {
    if (!signal.aborted) $("hit").textContent = message(error);
  }
}

// A request with an effect is never aborted: its job goes on. What it says is dropped where its view has ended.
async function act(request, signal) {
  disarm();
  const tell = (...words) => signal.aborted || $("outcome").replaceChildren(`${request.action} of `, ...inWords(request), ...words);
  tell(" is being carried out …");
  try {
    const { details } = await ask(`${request.action}/`, null, { body: request.body });
    tell(`: ${messages(details.messages)}, job ${details.job_id}.`);
  } catch (error) {
    const again = error.status === 409 ? " Nothing was changed. Count again." : "";
    tell(`: ${`${message(error)}.`.replace(/\.\.$/, ".")}${again}`);
  }
}

// Where the person is ------------------------------------------------------------------------------------------------

function route() {
  view.abort();
  view = new AbortController();
  disarm();
  show("");
  $("state").textContent = "";
  for (const id of ["log-in", "senders", "sender", "control", "conditions"]) $(id).hidden = true;
  $("go").hidden = $("log-out").hidden = token === null;
  if (token === null) {
    $("title").textContent = "Log in";
    $("log-in").hidden = false;
    $("token").focus();
    return;
  }
  watchConditions(view.signal);
  const found = /^#\/sender\/(\d+)$/.exec(location.hash);
  if (found) showSender(String(BigInt(found[1])), view.signal);
  else showSenders(view.signal);
}

function logOut(reason) {
  token = null;
  route();
  show(reason ?? "");
}

const loggingIn = new Latest();

$("log-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const signal = loggingIn.begin();
  const secret = $("token").value.trim();
  try {
    // Answered while the queue can't be.
    await ask("conditions", signal, { secret, base: "" });
  } catch (error) {
    if (signal.aborted) return;
    // A token that is limited may see its senders all the same.
    if (error.status !== 403) return show(message(error));
  }
  token = secret;
  $("token").value = "";
  route();
});
$("go").addEventListener("submit", (event) => {
  event.preventDefault();
  location.hash = `#/sender/${$("go-sender").value}`;
});
$("act").addEventListener("input", disarm);
$("log-out").addEventListener("click", () => logOut());
addEventListener("pagehide", disarm);
addEventListener("hashchange", route);
route();
