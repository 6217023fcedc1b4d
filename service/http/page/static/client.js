// The requests of the page. The token stays in the memory of this module.
const API = "api/v1.1/admin/senders/queue/";
// Longer than the service's own limit. What it has begun goes on without its client.
const READING_MS = 15000;
const ACTING_MS = 60000;
// A stream has a sign of life every 15 seconds.
export const SILENCE_MS = 20000;
// Ids reach 2^63 - 1, beyond the numbers of JavaScript: they stay strings here.
export const SHOWN = { ids: "string", names: 1 };
export const inUrl = (parameters) => new URLSearchParams({ ...parameters, ...SHOWN });

// `end` is what happens when the service refuses the token.
export const session = { token: null, end: () => {} };

// Ages are measured by the clock of the service: that of the reader may be wrong.
let aheadMs = 0;
export const now = () => Date.now() + aheadMs;

export class Refused extends Error {}

export function message(error) {
  if (error instanceof Refused) return error.message;
  return error.name === "TimeoutError" ? "The service does not answer in time" : "The service does not answer";
}

// The events of a stream as they come, or the members of a response. An error may have any HTTP status
// (QUEUESTATS_ERROR_HTTP_STATUS); its body has its number.
async function call(path, signal, { body, secret = session.token, base = API } = {}) {
  const options = { headers: { Authorization: `Bearer ${secret}` }, signal };
  if (body) Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  const response = await fetch(base + path, options);
  const ahead = Date.parse(response.headers.get("date")) - Date.now();
  // The header has whole seconds.
  aheadMs = Math.abs(ahead) > 2000 ? ahead : 0;
  if (response.headers.get("content-type")?.startsWith("text/event-stream")) return response.body;
  const found = await response.json().catch(() => ({ error: response.status, error_text: `HTTP ${response.status}` }));
  signal.throwIfAborted();
  const retryMs = 1000 * Number(response.headers.get("retry-after"));
  if (found.error) throw Object.assign(new Refused(found.error_text), { status: found.error, retryMs });
  return found;
}

// `signal` is the view's or null: a request with an effect goes on when its view ends.
export function ask(path, signal, options) {
  const limited = AbortSignal.any([AbortSignal.timeout(signal ? READING_MS : ACTING_MS), ...(signal ? [signal] : [])]);
  return call(path, limited, options);
}

// The events of a stream and, as events without a name, its signs of life. Ends with an error where it is silent.
export async function* events(path, signal) {
  const silence = new AbortController();
  const either = AbortSignal.any([signal, silence.signal]);
  let timer;
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(new DOMException("", "TimeoutError")), SILENCE_MS);
  };
  try {
    wait();
    const reader = (await call(path, either)).pipeThrough(new TextDecoderStream()).getReader();
    for (let text = ""; ; ) {
      const { value, done } = await reader.read();
      if (done) return;
      wait();
      const parts = (text + value).split(/\r?\n\r?\n/);
      text = parts.pop();
      for (const part of parts) {
        either.throwIfAborted();
        yield eventOf(part);
      }
    }
  } finally {
    clearTimeout(timer);
    silence.abort();
  }
}

function eventOf(part) {
  const fields = Object.fromEntries(part.split(/\r?\n/).map((line) => line.split(/: (.*)/s)));
  return { name: fields.event, data: fields.data && JSON.parse(fields.data), sign: fields[""] };
}

// Returns at once, or when the page is looked at: a browser shares six connections among all pages of a service.
export async function inSight(signal) {
  while (document.hidden && !signal.aborted) {
    await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true, signal }));
  }
}

export function pause(ms, signal) {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => resolve(clearTimeout(timer)), { once: true });
  });
}
