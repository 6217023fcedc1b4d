// The address names the view and what its table shows: Back, a reload and a bookmark show the same again.
import { $ } from "./dom.js";

const REMEMBER_MS = 100;
const RETURN_MS = 5000;
const BY_A_PERSON = ["wheel", "pointerdown", "keydown"];

export function readAddress() {
  const [, path, query] = /^(#[^?]*)\??(.*)$/s.exec(location.hash || "#/");
  return { path, parameters: new URLSearchParams(query) };
}

// The address with other parameters; null leaves one out.
export function href({ path, parameters }, changes) {
  const next = new URLSearchParams(parameters);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) next.delete(name);
    else next.set(name, value);
  }
  return next.size ? `${path}?${next}`.replaceAll("%2C", ",") : path;
}

// `state` is what the address does not say. A replaced address, or the same again, is no step of Back.
export function go(to, { state = null, isReplaced = false } = {}) {
  if (isReplaced || to === location.hash) history.replaceState(state, "", to);
  else history.pushState(state, "", to);
  dispatchEvent(new HashChangeEvent("hashchange"));
}

// Where a person was: how far down, and on which link, as far from the top of the window.
let isReturning = false;
let timer;

function remember() {
  // A person who logs in again returns to where the view was left.
  if (isReturning || !$("log-in").hidden) return;
  const focused = document.activeElement?.getAttribute("href");
  const top = document.activeElement?.getBoundingClientRect().top;
  history.replaceState({ ...history.state, y: scrollY, focused, top }, "");
}

// Rows arrive later than their view: it is tried again with each change of the height, until a person moves.
export function returnTo({ y = 0, focused, top }, signal) {
  const end = new AbortController();
  const attempt = () => {
    const link = focused && [...document.links].find((each) => each.getAttribute("href") === focused && each.checkVisibility());
    link?.focus({ preventScroll: true });
    if (link) scrollBy(0, link.getBoundingClientRect().top - top);
    else scrollTo(0, y);
    if (link || (!focused && Math.abs(scrollY - y) < 2)) end.abort();
  };
  const resized = new ResizeObserver(attempt);
  isReturning = true;
  for (const event of BY_A_PERSON) addEventListener(event, () => end.abort(), { signal: end.signal });
  const late = setTimeout(() => end.abort(), RETURN_MS);
  signal.addEventListener("abort", () => end.abort(), { signal: end.signal });
  end.signal.addEventListener("abort", () => {
    resized.disconnect();
    clearTimeout(late);
    isReturning = false;
  });
  resized.observe(document.querySelector("main"));
}

history.scrollRestoration = "manual";
addEventListener("click", remember, { capture: true });
addEventListener("scroll", () => {
  clearTimeout(timer);
  timer = setTimeout(remember, REMEMBER_MS);
});
