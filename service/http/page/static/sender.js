// The view of one sender: figures, history, messages by key, and actions.
import { go, href, readAddress } from "./address.js";
import { Chart, RANGES } from "./chart.js";
import { message, now } from "./client.js";
import { actButton, showControl } from "./control.js";
import { $, element, render } from "./dom.js";
import { Freshness, nameView, poll } from "./fresh.js";
import { Report } from "./report.js";
import { follow } from "./stream.js";
import { STATUSES } from "./tables.js";
import { duration, grouped, keyOf, moment, named, perMinute, sentence, stillSince, timed } from "./words.js";

const HISTORY_MS = 10000;
const FIGURES = [...STATUSES, "total"];
const split = new Report(
  $("split"),
  ["isp", "campaign", "account"],
  (row, key, report) => [element("a", { href: report.hrefOf(row, key) }, ...keyOf(row, key))],
  (report) => [{ title: "act", kind: "act", show: (row) => actButton(report.filterOf(row)) }],
);

// A time with seconds, without microseconds.
const at = (iso) => moment(Date.parse(iso));

function drawFigures(row) {
  for (const name of FIGURES) {
    render($(`count-${name}`), grouped(row[name]));
    const oldest = row.oldest?.[name];
    render($(`oldest-${name}`), ...(oldest ? ["oldest ", timed(oldest, duration((now() - Date.parse(oldest)) / 1000))] : []));
  }
  const isKnown = row.arrived !== undefined && row.arrived !== null;
  render($("arrived"), isKnown ? perMinute(row.arrived) : "–");
  render($("left"), isKnown ? perMinute(row.left) : "–");
  render($("window"), covered(row, isKnown));
  const [label, value] = outlook(row, isKnown);
  render($("outlook-label"), label);
  render($("outlook"), value);
}

function covered({ window }, isKnown) {
  if (!window) return "Rates are not available for this queue.";
  const range = `from ${at(window.from)} to ${at(window.to)}`;
  return isKnown ? `The rates are for the time ${range}.` : `There are no rates: the record ${range} is incomplete.`;
}

// The future of the queue at the current rates.
function outlook(row, isKnown) {
  if (row.total === 0) return ["empty in", "empty now"];
  if (!isKnown) return ["empty in", "–"];
  const since = stillSince(row);
  if (since !== null) return ["no message left since", since];
  if (row.empty_in !== null) return ["empty in", duration(row.empty_in)];
  return ["grows by", `${perMinute(row.arrived - row.left)} per minute`];
}

function clear(sender) {
  render($("title"), `Sender ${sender}`);
  nameView(`Sender ${sender}`);
  for (const name of FIGURES) [$(`count-${name}`), $(`oldest-${name}`)].forEach((node, index) => render(node, index ? "" : "–"));
  for (const id of ["arrived", "left", "outlook"]) render($(id), "–");
  render($("outlook-label"), "empty in");
  for (const id of ["window", "recorded"]) render($(id));
  $("sender").hidden = $("history").hidden = false;
}

const rangeOf = ({ parameters }) => (parameters.get("chart") in RANGES ? parameters.get("chart") : "hour");

// Returns a function that shows another address of this view.
export function showSender(sender, address, signal) {
  clear(sender);
  const chart = new Chart(sender, rangeOf(address), signal);
  let row = null;
  let name = null;
  follow(sender, new Freshness($("figures"), signal), signal, (report, takenAt) => {
    if (name === null && report.sender_name) {
      name = report.sender_name;
      render($("title"), "Sender ", ...named(sender, name));
      nameView(`Sender ${name} (${sender})`);
    }
    row = report;
    drawFigures(row);
    chart.add(takenAt, row);
  });
  // Ages grow without a change of the report.
  const clock = setInterval(() => row && !$("figures").classList.contains("old") && drawFigures(row), 1000);
  signal.addEventListener("abort", () => clearInterval(clock));
  const showRange = showHistory(chart, signal);
  split.open(address, signal, sender);
  showControl({ id: sender, name: () => name, arrivedPerMinute: (count) => (row?.arrived && row.total ? (row.arrived / 5) * Math.min(1, count / row.total) : 0) }, signal);
  return (next) => {
    showRange(rangeOf(next));
    split.update(next);
  };
}

function showHistory(chart, signal) {
  $("plots").hidden = $("ranges").hidden = false;
  let isOver = false;
  const look = async (step) => {
    if (isOver) return;
    try {
      await chart.look(step);
    } catch (error) {
      // The history is not available, or the token is limited to accounts and may not read it.
      if (![400, 403].includes(error.status)) throw error;
      isOver = true;
      chart.close();
      render($("recorded"), sentence(message(error)));
      $("plots").hidden = $("ranges").hidden = true;
      if (/limited to accounts/.test(error.message)) render($("limited"), "This token is limited to accounts. All numbers are for these accounts.");
    }
  };
  const again = poll(look, new Freshness($("history"), signal), signal, HISTORY_MS);
  drawRanges(chart.range);
  return (range) => {
    if (range === chart.range) return;
    drawRanges(range);
    chart.show(range);
    again();
  };
}

function drawRanges(chosen) {
  for (const range of Object.keys(RANGES)) $(`range-${range}`).setAttribute("aria-pressed", range === chosen);
}

for (const range of Object.keys(RANGES)) {
  $(`range-${range}`).addEventListener("click", () => go(href(readAddress(), { chart: range === "hour" ? null : range })));
}
