// Hold, release, purge: a count, a dialog with its result, and the request.
import { Refused, ask, message } from "./client.js";
import { $, element, render } from "./dom.js";
import { showLists } from "./lists.js";
import { grouped, isolated, messages, named, sentence } from "./words.js";

const FILTERS = ["account_id", "campaign_id", "isp"];
const WARNINGS = {
  hold: "Messages that arrive later and match are held too, until the hold ends.",
  release: "Each message gets its former status back, unless another hold matches it.",
  purge: "The messages are deleted. This can't be undone.",
};
let counting = new AbortController();
let of = null;
let signalOf = null;
let readLists = () => {};

// An ISP may be written from right to left. Its own element isolates the direction of the surrounding text.
function inWords({ account_id, campaign_id, isp }) {
  const words = ["sender ", ...named(of.id, of.name())];
  if (account_id) words.push(`, account ${account_id}`);
  if (campaign_id) words.push(`, campaign ${campaign_id}`);
  if (isp) words.push(", ISP ", isolated(isp));
  return words;
}

const filledIn = (ids) => Object.fromEntries(ids.map((id) => [id, $(id).value]).filter(([, value]) => value));

// The action and the filter in the form. A filter without a value is left out.
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

// A button that puts the filter of a row into the form. It is hidden without the scope control. null: no filter can
// select the messages of the row, because they lack a key.
export function actButton(filter) {
  if (filter === null) return [];
  // The button has its filter, because the row may have another one after an update.
  const button = element("button", { type: "button", class: "quiet", value: JSON.stringify(filter), title: "Hold, release or purge these messages" }, "Act …");
  button.addEventListener("click", () => {
    for (const id of FILTERS) $(id).value = JSON.parse(button.value)[id] ?? "";
    $("act").dispatchEvent(new Event("input"));
    $("action").focus();
  });
  return [button];
}

// Cancels the count and its confirmation after a change of the form or of the view.
export function disarm() {
  counting.abort();
  $("confirm").onclick = null;
  for (const id of ["asked", "recounted", "hit", "warning", "margin", "confirm"]) render($(id));
  $("confirmation").close();
}

// An element can be in one place only, so each sentence gets copies.
const copied = (words) => words.map((word) => (word.cloneNode ? word.cloneNode(true) : word));

// `former` is a confirmed count that the service refused because more messages matched.
async function count(asked, former = null) {
  const { action, body } = asked;
  disarm();
  render($("refused"));
  counting = new AbortController();
  const signal = AbortSignal.any([signalOf, counting.signal]);
  try {
    const { details } = await ask(`${action}/`, signal, { body: { ...body, dry_run: 1 } });
    confirm(asked, details, former);
  } catch (error) {
    if (!signal.aborted) render($("refused"), sentence(message(error)));
  }
}

// How many messages may match in addition to the counted ones: their share of the messages that arrive in a minute or,
// after a refused count, at least twice the growth since this count. 0 if no rate is known.
function marginOf(matched, former) {
  return Math.max(Math.ceil(of.arrivedPerMinute(matched)), former ? 2 * (matched - former.matched) : 0);
}

function confirm(asked, details, former) {
  const { action, words, ends = "" } = asked;
  const counts = Object.entries(details).filter(([name]) => !name.startsWith("left_"));
  const matched = counts.reduce((sum, [, hit]) => sum + hit, 0);
  const margin = marginOf(matched, former);
  const left = details.left_reason ? ` ${messages(details.left_messages)} are not changed: ${details.left_reason}.` : "";
  render($("asked"), `${action[0].toUpperCase()}${action.slice(1)} ${messages(matched)}?`);
  render($("recounted"), former ? `Nothing was changed: more than ${messages(former.atMost)} matched. This is a new count.` : "");
  render($("hit"), `${action} of `, ...copied(words), `: ${counts.map(([status, hit]) => `${grouped(hit)} ${status}`).join(", ")}.`);
  render($("warning"), WARNINGS[action], ends, left);
  render($("margin"), margin ? `The queue grows, so ${grouped(margin)} more than counted are permitted.` : "");
  $("at_most").value = matched + margin;
  const name = () => {
    const atMost = $("at_most").valueAsNumber || 0;
    render($("confirm"), `Confirm ${action} of ${atMost > matched ? "up to " : ""}${messages(Math.max(atMost, matched))}`);
  };
  name();
  $("at_most").oninput = name;
  $("confirm").onclick = () => $("at_most").reportValidity() && act(Object.freeze(asked), matched, $("at_most").valueAsNumber);
  $("confirmation").showModal();
}

// The page never aborts a request with an effect, because its job continues. After the end of the view, the result is
// ignored.
async function act(asked, matched, atMost) {
  const { action, body, words, ofHold = {} } = asked;
  const signal = signalOf;
  disarm();
  counting = new AbortController();
  const still = counting.signal;
  const say = (...more) => signal.aborted || render($("outcome"), `${action} of `, ...copied(words), ...more);
  say(" is running …");
  try {
    const { details } = await ask(`${action}/`, null, { body: { ...body, ...ofHold, details: 1, at_most: atMost } });
    say(`: ${messages(details.messages)}, job ${details.job_id}.`);
  } catch (error) {
    say(`: ${sentence(message(error))}${after(error)}`);
    // Counts again in the same dialog, unless the user has done something else.
    if (isOfMore(error) && !signal.aborted && !still.aborted) count(asked, { matched, atMost });
  }
  if (!signal.aborted) readLists();
}

const isOfMore = (error) => error.status === 409 && error.message.includes("at_most");

// The effect of a failed request.
function after(error) {
  if (!(error instanceof Refused) || error.status === 504) return " The list of jobs shows whether it began.";
  return isOfMore(error) ? " Nothing was changed." : "";
}

// `sender` has an `id`, a function for its `name` (null until it is known), and the function `arrivedPerMinute`: how
// many messages arrive, for a given number of messages of the queue.
export function showControl(sender, signal) {
  [of, signalOf] = [sender, signal];
  for (const id of ["outcome", "refused"]) render($(id));
  $("act").reset();
  $("act").dispatchEvent(new Event("input"));
  readLists = showLists(sender.id, signal, (hold_id) => {
    count({ action: "release", words: ["hold ", hold_id, " of ", ...inWords({})], body: { id: of.id, hold_id } });
  });
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
