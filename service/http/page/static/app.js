// The operator's page: who is logged in, and which view is shown.
import { readAddress, returnTo } from "./address.js";
import { ask, message, session } from "./client.js";
import { disarm } from "./control.js";
import { $, element, render } from "./dom.js";
import { nameView, tell } from "./fresh.js";
import { showOverview } from "./overview.js";
import { showSender } from "./sender.js";
import { sentence } from "./words.js";

const CONDITIONS_MS = 10000;
const TOLD = ["error", "warning"];
// Ends with the view: what still arrives for it is dropped.
let view = new AbortController();
// What is shown, and what shows another address of it.
let path;
let update = null;

// Conditions of health, the errors first. A token that is limited gets 403, and sees none. In an outage the last ones stay.
async function watchConditions(signal) {
  const { data } = await ask("conditions", signal, { base: "" }).catch((error) => ({ data: error.status === 403 ? [] : null }));
  if (signal.aborted) return;
  if (data) {
    const found = data.filter(({ severity }) => TOLD.includes(severity));
    render($("conditions"), ...found.map(({ condition, node, finding, meaning, advice, severity }) =>
      element("p", { class: severity }, element("b", {}, `${condition}${node && ` at ${node}`}: ${finding}.`), ` ${meaning} ${advice}`)));
    $("conditions").hidden = !found.length;
  }
  setTimeout(() => signal.aborted || watchConditions(signal), CONDITIONS_MS);
}

// The same view with another address stays: its numbers, the form and the focus.
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
  tell("session", "");
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
  if (reason) tell("session", `You are logged out. ${sentence(reason)} A demo that is started again prints another token.`);
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
    // Answered while the queue can't be.
    await ask("conditions", signal, { secret, base: "" });
  } catch (error) {
    if (signal.aborted) return;
    // A token that is limited may see its senders all the same.
    if (error.status !== 403) return tell("session", sentence(message(error)));
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
