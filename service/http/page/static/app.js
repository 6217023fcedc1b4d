// The operator's page: log-in, log-out and the choice of the view.
import { readAddress, returnTo } from "./address.js";
import { ask, message, session } from "./client.js";
import { disarm } from "./control.js";
import { $, element, render } from "./dom.js";
import { nameView, setProblem } from "./fresh.js";
import { showOverview } from "./overview.js";
import { showSender } from "./sender.js";
import { sentence } from "./words.js";

const CONDITIONS_MS = 10000;
const SHOWN_SEVERITIES = ["error", "warning"];
// Aborted at the end of the view. Later responses for the view are ignored.
let view = new AbortController();
// The path of the view, and the function that shows another address of the same view.
let path;
let update = null;

// Conditions of health, errors first. For a limited token (403) there are none. In an outage, the last ones remain.
async function watchConditions(signal) {
  const { data } = await ask("conditions", signal, { base: "" }).catch((error) => ({ data: error.status === 403 ? [] : null }));
  if (signal.aborted) return;
  if (data) {
    const found = data.filter(({ severity }) => SHOWN_SEVERITIES.includes(severity));
    render($("conditions"), ...found.map(({ condition, node, finding, meaning, advice, severity }) =>
      element("p", { class: severity }, element("b", {}, `${condition}${node && ` at ${node}`}: ${finding}.`), ` ${meaning} ${advice}`)));
    $("conditions").hidden = !found.length;
  }
  setTimeout(() => signal.aborted || watchConditions(signal), CONDITIONS_MS);
}

// A change of address within a view keeps its numbers, its form and the focus.
function follow() {
  const address = readAddress();
  if (view.signal.aborted || address.path !== path || !update) return route();
  disarm();
  update(address);
  if (history.state?.y !== undefined) returnTo(history.state, view.signal);
}

function route() {
  view.abort();
  view = new AbortController();
  const address = readAddress();
  [path, update] = [address.path, null];
  disarm();
  setProblem("session", "");
  for (const id of ["log-in", "overview", "sender", "conditions"]) $(id).hidden = true;
  render($("limited"));
  $("go").hidden = $("log-out").hidden = session.token === null;
  if (session.token === null) return showLogIn();
  watchConditions(view.signal);
  const [, id] = /^#\/sender\/(\d+)$/.exec(path) ?? [];
  update = id ? showSender(String(BigInt(id)), address, view.signal) : showOverview(address, view.signal);
  $("title").focus({ preventScroll: true });
  returnTo(history.state ?? {}, view.signal);
}

function showLogIn() {
  $("title").textContent = "Log in";
  nameView("Log in");
  $("log-in").hidden = false;
  $("token").focus();
}

function logOut(reason) {
  session.token = null;
  route();
  if (reason) setProblem("session", `You are logged out. ${sentence(reason)} After a restart, a demo prints a new token.`);
}
session.end = logOut;

let loggingIn = new AbortController();
$("log-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  loggingIn.abort();
  loggingIn = new AbortController();
  const { signal } = loggingIn;
  const secret = $("token").value.trim();
  try {
    // This request succeeds even if the queue can't be read.
    await ask("conditions", signal, { secret, base: "" });
  } catch (error) {
    if (signal.aborted) return;
    // 403: a limited token may still read its senders.
    if (error.status !== 403) return setProblem("session", sentence(message(error)));
  }
  session.token = secret;
  $("token").value = "";
  route();
});
$("go").addEventListener("submit", (event) => {
  event.preventDefault();
  location.hash = `#/sender/${$("go-sender").value}`;
  $("go-sender").value = "";
});
$("log-out").addEventListener("click", () => logOut());
addEventListener("pagehide", disarm);
addEventListener("hashchange", follow);
route();
