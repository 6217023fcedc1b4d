// Follows the stream of a sender.
import { events, inSight, inUrl, message, pause, session } from "./client.js";

const BACK_MS = 1000;
const INTERVAL_MS = 1000;
// Values of `with`, tried in order until one is accepted. A table without times of arrival, and a token that is limited
// to accounts, do not have all parts.
const PARTS = ["oldest,rates", "rates", "oldest", ""];

// Calls `onReport` with each report until the view ends. Opens a new stream after an outage, and when the page is shown.
export async function follow(sender, freshness, signal, onReport) {
  for (let parts = PARTS; !signal.aborted; ) {
    await inSight(signal);
    const hidden = new AbortController();
    document.addEventListener("visibilitychange", () => hidden.abort(), { once: true, signal: hidden.signal });
    const asked = inUrl({ id: sender, interval_ms: INTERVAL_MS, with: parts[0] });
    try {
      await read(events(`stream/?${asked}`, AbortSignal.any([signal, hidden.signal])), freshness, onReport);
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 401) return session.end(error.message);
      const isRefused = error.status === 400 || error.status === 403;
      if (isRefused && parts.length > 1) {
        parts = parts.slice(1);
        continue;
      }
      if (!hidden.signal.aborted) freshness.fail(message(error));
      if (isRefused) return;
    } finally {
      hidden.abort();
    }
    await pause(BACK_MS, signal);
  }
}

async function read(stream, freshness, onReport) {
  for await (const { name, data, sign } of stream) {
    if (name === "report") {
      const at = Date.parse(data.taken_at);
      freshness.mark(at);
      onReport(data.data[0], at);
    } else if (name === "error") {
      if (data.error === 401) return session.end(data.error_text);
      freshness.fail(data.error_text);
    } else if (sign?.startsWith("as of ") && !freshness.reason) {
      // The report has not changed.
      freshness.mark(Date.parse(sign.slice("as of ".length)));
    }
  }
}
