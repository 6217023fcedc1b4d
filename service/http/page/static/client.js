// The requests of the page. Only this module has the token.
const API = "api/v1.1/admin/senders/queue/";
// Longer than the time limit of the service. A job that has begun continues without its client.
const READING_MS = 15000;
const ACTING_MS = 60000;
// A stream sends a comment every 15 seconds.
export const SILENCE_MS = 20000;
// Ids are strings here, because they reach 2^63 - 1, beyond the exact numbers of JavaScript.
export const SHOWN = { ids: "string", names: 1 };
export const inUrl = (parameters) => new URLSearchParams({ ...parameters, ...SHOWN });

// `end` is called when the service refuses the token.
export const session = { token: null, end: () => {} };

// Ages are relative to the clock of the service, because the clock of the browser may be wrong.
let aheadMs = 0;
export const now = () => Date.now() + aheadMs;

export class Refused extends Error {}

export function message(error) {
  if (error instanceof Refused) return error.message;
  return error.name === "TimeoutError" ? "The service does not respond in time" : "The service does not respond";
}

// Returns the body of a stream, or the members of a response. The number of an error comes from its body, because
// QUEUESTATS_ERROR_HTTP_STATUS may set another HTTP status.
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

// `signal` is that of the view, or null for a request with an effect, which continues after its view.
export function ask(path, signal, options) {
  const limited = AbortSignal.any([AbortSignal.timeout(signal ? READING_MS : ACTING_MS), ...(signal ? [signal] : [])]);
  return call(path, limited, options);
}

// The events of a stream, and its comments as events without a name. Throws an error if the stream is silent.
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

// Waits until the page is visible, because a browser has only six connections for all pages of a service.
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
