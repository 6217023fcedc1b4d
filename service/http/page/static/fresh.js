// Shows the time of the data of each section, and marks old data as grey.
import { SILENCE_MS, inSight, message, now, pause, session } from "./client.js";
import { $, render } from "./dom.js";
import { moment, sentence } from "./words.js";

const REFRESH_MS = 2000;
const troubles = new Map();
let view = "";

export function nameView(name) {
  view = name;
  const isOld = [...troubles.keys()].some((source) => source instanceof Freshness);
  document.title = `${isOld ? "No data: " : ""}${name} · queuestats`;
}

// Shows the problem of a source; "" removes it. Equal texts are shown once.
export function setProblem(source, text) {
  if (text) troubles.set(source, text);
  else troubles.delete(source);
  render($("error"), [...new Set(troubles.values())].join(" "));
  $("error").hidden = !troubles.size;
  nameView(view);
}

export class Freshness {
  constructor(section, signal) {
    Object.assign(this, { section, note: section.querySelector(".as-of"), at: null, heardAt: Date.now(), reason: "" });
    const timer = setInterval(() => this.draw(), 1000);
    signal.addEventListener("abort", () => {
      clearInterval(timer);
      setProblem(this, "");
    });
    this.draw();
  }

  // The section shows the data of the time `at`.
  mark(at) {
    Object.assign(this, { at, heardAt: Date.now(), reason: "" });
    this.draw();
  }

  fail(reason) {
    this.reason = reason;
    this.draw();
  }

  // Other requests of the token run first. The data is old only after SILENCE_MS.
  postpone(reason) {
    if (Date.now() - this.heardAt > SILENCE_MS) this.fail(reason);
  }

  draw() {
    // A hidden page reads nothing, so the service is not silent.
    const isSilent = !document.hidden && Date.now() - this.heardAt > SILENCE_MS;
    const isOld = this.reason !== "" || isSilent;
    const at = this.at === null ? "" : moment(this.at);
    render(this.note, isOld ? `no data${at && ` since ${at}`}` : at && `as of ${at}`);
    this.section.classList.toggle("old", isOld);
    setProblem(this, isOld ? sentence(this.reason || "The service does not respond in time") : "");
  }
}

// Repeats the work until the view ends. The pause is shorter than SILENCE_MS; it is a number of milliseconds, or a
// function of the time of the work. Returns a function that aborts the current work and starts it again.
export function poll(work, freshness, signal, pauseMs = REFRESH_MS) {
  const restAfter = typeof pauseMs === "number" ? () => pauseMs : pauseMs;
  let step;
  // Returns the pause in milliseconds.
  const once = async () => {
    const [begunAt, startedAt] = [now(), performance.now()];
    try {
      await work(step);
      step.throwIfAborted();
      freshness.mark(begunAt);
      return restAfter(performance.now() - startedAt);
    } catch (error) {
      if (step.aborted) return 0;
      if (error.status === 401) session.end(error.message);
      else if (error.status === 429) freshness.postpone(message(error));
      else freshness.fail(message(error));
      return Math.max(restAfter(0), error.status === 429 ? error.retryMs : 0);
    }
  };
  let again;
  (async () => {
    while (!signal.aborted) {
      await inSight(signal);
      const renewed = new AbortController();
      again = () => renewed.abort();
      step = AbortSignal.any([signal, renewed.signal]);
      await pause(await once(), step);
    }
  })();
  return () => again?.();
}
