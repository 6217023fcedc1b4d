// The first view: what waits longest, and who has most.
import { ask, now } from "./client.js";
import { $, element, render } from "./dom.js";
import { Freshness, nameView, poll } from "./fresh.js";
import { CountTable, STATUSES, Table, top } from "./tables.js";
import { duration, grouped, keyOf, perMinute, sentence, stillSince, timed } from "./words.js";

const OLDEST = 10;
// The numbers change with the minute.
const RATES_MS = 20000;
const link = (row) => [element("a", { href: `#/sender/${row.sender_id}` }, ...keyOf(row, "sender"))];
const age = (at) => [at ? timed(at, duration((now() - Date.parse(at)) / 1000)) : "–"];

const largest = new CountTable($("largest"), "sender", link);
let rates = new Map();
const oldest = new Table(
  $("oldest").querySelector("table"),
  [
    { title: "sender", kind: "text", show: link },
    { title: "oldest of all", order: "total", show: (row) => age(row.oldest.total) },
    ...STATUSES.map((status) => ({ title: `oldest ${status}`, order: status, show: (row) => age(row.oldest[status]) })),
    { title: "messages", show: (row) => [grouped(row.total)] },
    { title: "left a minute", show: (row) => [left(rates.get(row.sender_id))] },
  ],
  (row) => row.sender_id,
  { order: "total", empty: "No message waits." },
);

function left(row) {
  if (row?.left == null) return "–";
  const since = stillSince(row);
  return since === null ? perMinute(row.left) : since === "not known" ? "none" : `none since ${since}`;
}

// What the senders' rates are. Where they are not known, as in a cluster, the column stays empty.
async function readRates(ids, signal) {
  const body = { with: "rates", ids: "string" };
  const found = await Promise.all(ids.map((id) => ask("stats/", signal, { body: { ...body, id } }).catch(() => null)));
  rates = new Map(ids.map((id, index) => [id, found[index]?.data[0]]));
}

export function showOverview(signal) {
  $("title").textContent = "What needs attention";
  nameView("Overview");
  $("overview").hidden = $("oldest").hidden = false;
  oldest.clear();
  largest.clear();
  rates = new Map();
  showOldest(signal);
  largest.onOrder = poll(refusable((step) => largest.look(top, step)), new Freshness($("largest"), signal), signal);
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
  oldest.onOrder = poll(refusable(look), new Freshness($("oldest"), signal), signal);
}

// A refusal is no trouble: it says what this queue does not have, or what the token may not see.
const refusable = (look) => async (step) => {
  try {
    await look(step);
  } catch (error) {
    if (error.status === 400) $("oldest").hidden = true;
    else if (error.status === 403) render($("limited"), ...limitation(error.message));
    else throw error;
    $("overview").hidden = error.status === 403;
  }
};

// What a token that may not see all senders can do here.
function limitation(reason) {
  const hint = /scope/.test(reason)
    ? "This page shows queues, and needs a token of the scope stats: queuestats token create NAME --scope stats."
    : "Its senders are not listed. Enter the number of a sender above to see its accounts.";
  return [sentence(reason), " ", hint];
}
