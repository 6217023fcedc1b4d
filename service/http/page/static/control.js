// Hold, release, purge: a count, a dialog that names it, the request, and its job.
import { Refused, SHOWN, ask, message, now } from "./client.js";
import { $, element, render } from "./dom.js";
import { Freshness, poll } from "./fresh.js";
import { Table } from "./tables.js";
import { duration, filterOf, grouped, isolated, keyOf, messages, moment, named, sentence, timed } from "./words.js";

const FILTERS = ["account_id", "campaign_id", "isp"];
const WARNINGS = {
  hold: "Messages that arrive later and match are held too, until the hold ends.",
  release: "Each message gets its former status back, unless another hold matches it.",
  purge: "The messages are deleted. This can't be undone.",
};
const time = (iso) => [iso ? timed(iso, moment(Date.parse(iso))) : "never"];
const at = (iso) => Date.parse(iso);
let counting = new AbortController();
let of = null;
let signalOf = null;

const holds = new Table($("holds"), [
  { title: "hold", kind: "text", show: (row) => [row.id] },
  { title: "messages of", kind: "text", show: filterOf },
  { title: "number", show: (row) => [grouped(row.messages)] },
  { title: "reason", kind: "text", show: (row) => [isolated(row.reason ?? "")] },
  { title: "by", kind: "text", show: (row) => [isolated(row.created_by ?? "another token")] },
  { title: "since", kind: "text", show: (row) => time(row.created_at) },
  { title: "ends", kind: "text", show: (row) => time(row.expires_at) },
  { title: "release", kind: "text", show: releaseButton },
], (row) => row.id, { empty: "No hold is active." });

const jobs = new Table($("jobs"), [
  { title: "job", kind: "text", show: (row) => [row.id] },
  { title: "action", kind: "text", show: (row) => [row.action] },
  { title: "messages of", kind: "text", show: filterOf },
  { title: "state", kind: "text", show: (row) => [row.state] },
  { title: "progress", kind: "text", show: progress },
  { title: "waits for", kind: "text", show: (row) => (row.waits_for ? [row.waits_for, ", since ", ...time(row.waits_since)] : []) },
  { title: "error", kind: "text", show: failure },
  { title: "by", kind: "text", show: (row) => [isolated(row.requested_by)] },
  { title: "begun", kind: "text", show: (row) => time(row.created_at) },
], (row) => row.id, { empty: "No job yet." });

function releaseButton(row) {
  if ($("control").hidden) return [];
  const button = element("button", { type: "button", "aria-label": `Release hold ${row.id}` }, "Release …");
  button.addEventListener("click", () => {
    count({ action: "release", words: ["hold ", row.id, " of ", ...inWords({})], body: { id: of.id, hold_id: row.id } });
  });
  return [button];
}

function failure(row) {
  const what = row.failed ? `${messages(row.failed)} could not be changed: ` : "";
  return [what, isolated(row.error ?? "")];
}

function progress(row) {
  const done = `${grouped(row.changed)} of ${row.matched === null ? "?" : grouped(row.matched)}`;
  if (row.finished_at || !row.matched) return [done];
  const bar = element("progress", { max: row.matched, value: row.changed, "aria-label": `Job ${row.id}` });
  const seconds = (((now() - at(row.created_at)) / 1000) * (row.matched - row.changed)) / row.changed;
  return [bar, " ", done, row.changed && seconds > 1 ? `, about ${duration(seconds)} left` : ""];
}

// An ISP may be written from right to left: its own element keeps it from turning the words around it.
function inWords({ account_id, campaign_id, isp }) {
  const words = ["sender ", ...named(of.id, of.name())];
  if (account_id) words.push(`, account ${account_id}`);
  if (campaign_id) words.push(`, campaign ${campaign_id}`);
  if (isp) words.push(", ISP ", isolated(isp));
  return words;
}

const filledIn = (ids) => Object.fromEntries(ids.map((id) => [id, $(id).value]).filter(([, value]) => value));

// The action and the messages that it is for, as the form has them now. A filter without a value is left out.
function readForm() {
  const action = $("action").value;
  const filter = filledIn(FILTERS);
  const words = [...inWords(filter), Object.keys(filter).length ? "" : ", the whole queue"];
  const ofHold = action === "hold" ? filledIn(["reason", "expires_in"]) : {};
  return { action, body: { id: of.id, ...filter }, words, ofHold, ends: action === "hold" ? endOf(ofHold) : "" };
}

function endOf({ expires_in }) {
  return ` It ends ${expires_in ? `after ${$("expires_in").selectedOptions[0].text}` : "when it is released"}.`;
}

// The key of a row; for a token that may act it puts the key into the form. Messages without a key can't be chosen.
export function actOn(row, by) {
  const field = by === "isp" ? "isp" : `${by}_id`;
  const key = keyOf(row, by);
  if ($("control").hidden || row[field] === "" || row[field] === "0") return key;
  const button = element("button", { type: "button", class: "link", title: "Hold, release or purge these messages" }, ...key);
  button.addEventListener("click", () => {
    for (const id of FILTERS) $(id).value = id === field ? row[field] : "";
    $("act").dispatchEvent(new Event("input"));
    $("action").focus();
  });
  return [button];
}

// What was counted is not to be confirmed any more: the form or the view is another one.
export function disarm() {
  counting.abort();
  $("confirm").onclick = null;
  for (const id of ["asked", "hit", "warning", "confirm"]) render($(id));
  $("confirmation").close();
}

// An element is in one place: each sentence has words of its own.
const copied = (words) => words.map((word) => (word.cloneNode ? word.cloneNode(true) : word));

async function count({ action, body, words, ofHold = {}, ends = "" }) {
  disarm();
  render($("refused"));
  counting = new AbortController();
  const signal = AbortSignal.any([signalOf, counting.signal]);
  try {
    const { details } = await ask(`${action}/`, signal, { body: { ...body, dry_run: 1 } });
    confirm(Object.freeze({ action, words, body: { ...body, ...ofHold, details: 1 } }), details, ends);
  } catch (error) {
    if (!signal.aborted) render($("refused"), sentence(message(error)));
  }
}

function confirm(request, details, ends) {
  const { action, words } = request;
  const counts = Object.entries(details).filter(([name]) => !name.startsWith("left_"));
  const matched = counts.reduce((sum, [, hit]) => sum + hit, 0);
  const left = details.left_reason ? ` ${messages(details.left_messages)} are left: ${details.left_reason}.` : "";
  render($("asked"), `${action[0].toUpperCase()}${action.slice(1)} ${messages(matched)}?`);
  render($("hit"), `${action} of `, ...copied(words), `: ${counts.map(([status, hit]) => `${grouped(hit)} ${status}`).join(", ")}.`);
  render($("warning"), WARNINGS[action], ends, left);
  render($("confirm"), `Confirm ${action} of ${messages(matched)}`);
  $("at_most").value = matched;
  $("confirm").onclick = () => $("at_most").reportValidity() && act(request, $("at_most").valueAsNumber, signalOf);
  $("confirmation").showModal();
}

// A request with an effect is never aborted by the page: its job goes on. What it says is dropped where its view ended.
async function act({ action, words, body }, atMost, signal) {
  disarm();
  const say = (...more) => signal.aborted || render($("outcome"), `${action} of `, ...copied(words), ...more);
  say(" is being carried out …");
  try {
    const { details } = await ask(`${action}/`, null, { body: { ...body, at_most: atMost } });
    say(`: ${messages(details.messages)}, job ${details.job_id}.`);
  } catch (error) {
    say(`: ${sentence(message(error))}${after(error)}`);
  }
}

// What became of a request that failed.
function after(error) {
  if (!(error instanceof Refused) || error.status === 504) return " The list of jobs shows whether it began.";
  return error.status === 409 && error.message.includes("at_most") ? " Nothing was changed. Count again." : "";
}

// `sender` has an `id`, and a `name` once it is known.
export function showControl(sender, signal) {
  [of, signalOf] = [sender, signal];
  holds.clear();
  jobs.clear();
  for (const id of ["outcome", "refused"]) render($(id));
  $("act").reset();
  $("act").dispatchEvent(new Event("input"));
  $("control").hidden = true;
  const body = { id: sender.id, ...SHOWN };
  poll(async (step) => {
    const found = await ask("jobs/", step, { body }).catch((error) => {
      if (error.status !== 403) throw error;
      return null;
    });
    const active = await ask("holds/", step, { body });
    $("control").hidden = found === null;
    holds.fill(active.data);
    if (found) jobs.fill(found.data);
  }, new Freshness($("acting"), signal), signal);
}

$("act").addEventListener("submit", (event) => {
  event.preventDefault();
  count(readForm());
});
$("act").addEventListener("input", () => {
  disarm();
  for (const id of ["reason", "expires_in"]) $(id).disabled = $("action").value !== "hold";
});
$("cancel").addEventListener("click", disarm);
$("confirmation").addEventListener("cancel", disarm);
