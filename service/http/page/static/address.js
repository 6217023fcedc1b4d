// The address contains the view and the state of its table, so Back, a reload and a bookmark show the same rows.
import { $ } from "./dom.js";

const REMEMBER_MS = 100;
const RETURN_MS = 5000;
const USER_EVENTS = ["wheel", "pointerdown", "keydown"];

export function readAddress() {
  const [, path, query] = /^(#[^?]*)\??(.*)$/s.exec(location.hash || "#/");
  return { path, parameters: new URLSearchParams(query) };
}

// The address with changed parameters. A value of null removes the parameter.
export function href({ path, parameters }, changes) {
  const next = new URLSearchParams(parameters);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) next.delete(name);
    else next.set(name, value);
  }
  return next.size ? `${path}?${next}`.replaceAll("%2C", ",") : path;
}

// `state` is stored with the entry of the history. A replaced or equal address adds no entry.
export function go(to, { state = null, isReplaced = false } = {}) {
  if (isReplaced || to === location.hash) history.replaceState(state, "", to);
  else history.pushState(state, "", to);
  dispatchEvent(new HashChangeEvent("hashchange"));
}

// Stores the scroll position, the focused link, and the distance of this link from the top of the window.
let isReturning = false;
let timer;

function remember() {
  // After a new log-in, the view returns to the stored position.
  if (isReturning || !$("log-in").hidden) return;
  const focused = document.activeElement?.getAttribute("href");
  const top = document.activeElement?.getBoundingClientRect().top;
  history.replaceState({ ...history.state, y: scrollY, focused, top }, "");
}

// Rows arrive after the view is shown. So it is tried again after each change of the height, until the user scrolls.
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
  for (const event of USER_EVENTS) addEventListener(event, () => end.abort(), { signal: end.signal });
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
