// The first view: the sum of all senders, the oldest messages, and the table of senders.
import { go, href } from "./address.js";
import { ask, now } from "./client.js";
import { $, element, render } from "./dom.js";
import { Freshness, nameView, poll } from "./fresh.js";
import { Report, restAfter } from "./report.js";
import { top } from "./rows.js";
import { STATUSES, Table } from "./tables.js";
import { duration, grouped, keyOf, perMinute, sentence, stillSince, timed } from "./words.js";

const OLDEST = 10;
// Rates change only once a minute.
const RATES_MS = 20000;
const age = (at) => [at ? timed(at, duration((now() - Date.parse(at)) / 1000)) : "–"];
const pathOf = (row) => `#/sender/${row.sender_id}`;
const link = (row) => [element("a", { href: pathOf(row) }, ...keyOf(row, "sender"))];

let rates = new Map();
const oldest = new Table(
  $("oldest").querySelector("table"),
  [
    { title: "sender", kind: "text", show: link },
    { title: "oldest of all", order: "total", show: (row) => age(row.oldest.total) },
    ...STATUSES.map((status) => ({ title: `oldest ${status}`, mark: status, order: status, show: (row) => age(row.oldest[status]) })),
    { title: "messages", show: (row) => [grouped(row.total)] },
    { title: "left per minute", show: (row) => [left(rates.get(row.sender_id))] },
  ],
  (row) => row.sender_id,
  { order: "total", empty: "No messages." },
);

// A sender links to its view, with the filters of the report. Another key links to the report of its messages.
const senders = new Report($("senders"), ["sender", "isp", "campaign", "account"], (row, key, report) => {
  const filters = new URLSearchParams(report.filters.map((each) => [each, report.parameters.get(each)]));
  const to = key === "sender" ? href({ path: pathOf(row), parameters: filters }, {}) : report.hrefOf(row, key);
  return [element("a", { href: to }, ...keyOf(row, key))];
});

function left(row) {
  if (row?.left == null) return "–";
  const since = stillSince(row);
  return since === null ? perMinute(row.left) : since === "not known" ? "none" : `none since ${since}`;
}

// Reads the rates of the senders. The column is empty for senders whose rates can't be read.
async function readRates(ids, signal) {
  const body = { with: "rates", ids: "string" };
  const found = await Promise.all(ids.map((id) => ask("stats/", signal, { body: { ...body, id } }).catch(() => null)));
  rates = new Map(ids.map((id, index) => [id, found[index]?.data[0]]));
}

// Returns a function that shows another address of this view.
export function showOverview(address, signal) {
  $("title").textContent = "Overview";
  nameView("Overview");
  $("overview").hidden = $("oldest").hidden = false;
  oldest.clear();
  rates = new Map();
  for (const name of [...STATUSES, "total"]) render($(`all-${name}`), "–");
  render($("sum"));
  poll((step) => showSum(step), new Freshness($("totals"), signal), signal, restAfter);
  const again = showOldest(signal);
  const update = (next) => {
    const order = next.parameters.get("oldest");
    oldest.order = STATUSES.includes(order) ? order : "total";
    oldest.drawOrder();
    oldest.onOrder = (chosen) => go(href(next, { oldest: chosen === "total" ? null : chosen }));
    again();
  };
  update(address);
  senders.open(address, signal);
  return (next) => {
    update(next);
    senders.update(next);
  };
}

async function showSum(step) {
  try {
    const { data: [row] } = await ask("report/", step, { body: { by: "none" } });
    for (const name of [...STATUSES, "total"]) render($(`all-${name}`), grouped(row[name]));
    render($("sum"));
  } catch (error) {
    if (error.status !== 400) return limitOf(error);
    // The queue has too many senders for one sum.
    render($("sum"), `The sum of all senders is not available: ${sentence(error.message)}`);
  }
}

function showOldest(signal) {
  let readAt = 0;
  const look = async (step) => {
    if ($("oldest").hidden) return;
    const rows = await top({ order: "oldest", status: oldest.order, limit: OLDEST }, step);
    oldest.fill(rows);
    if (Date.now() - readAt < RATES_MS) return;
    readAt = Date.now();
    await readRates(rows.map((row) => row.sender_id), step);
    step.throwIfAborted();
    oldest.fill(rows);
  };
  // A refusal is not a problem: the queue has no times of arrival, or the token may not read them.
  return poll((step) => look(step).catch((error) => {
    if (![400, 403].includes(error.status)) throw error;
    $("oldest").hidden = true;
    if (error.status === 403) limitOf(error);
  }), new Freshness($("oldest"), signal), signal);
}

// Shows the limits of a token.
function limitOf(error) {
  if (error.status !== 403) throw error;
  const lacksScope = /scope/.test(error.message);
  const hint = lacksScope
    ? " This page needs a token with the scope stats: queuestats token create NAME --scope stats."
    : " All numbers are for these accounts.";
  $("overview").hidden = lacksScope;
  render($("limited"), lacksScope ? sentence(error.message) : "This token is limited to accounts.", hint);
}
