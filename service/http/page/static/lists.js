// The active holds, the jobs and the audit log of a sender.
import { SHOWN, ask, now } from "./client.js";
import { $, element, render } from "./dom.js";
import { Freshness, poll } from "./fresh.js";
import { Table } from "./tables.js";
import { duration, filterOf, grouped, isolated, messages, moment, timed } from "./words.js";

const AUDIT_MS = 10000;
const time = (iso) => [iso ? timed(iso, moment(Date.parse(iso))) : "never"];
let release = () => {};

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
  { title: "started", kind: "text", show: (row) => time(row.created_at) },
], (row) => row.id, { empty: "No jobs." });

const entries = new Table($("entries"), [
  { title: "at", kind: "text", show: (row) => time(row.at) },
  { title: "action", kind: "text", show: (row) => [row.action] },
  { title: "messages of", kind: "text", show: filterOf },
  { title: "number", show: (row) => [row.messages === null ? "" : grouped(row.messages)] },
  { title: "by", kind: "text", show: (row) => [isolated(row.actor_name)] },
  { title: "reason", kind: "text", show: (row) => [isolated(row.reason)] },
  { title: "ended holds", kind: "text", show: (row) => [(row.hold_ids ?? [row.hold_id ?? ""]).join(", ")] },
  { title: "job", kind: "text", show: (row) => [`${row.job_id ?? ""}`] },
], (row) => [row.at, row.action, row.job_id].join(), { empty: "No entries." });

function releaseButton(row) {
  if ($("control").hidden) return [];
  const button = element("button", { type: "button", "aria-label": `Release hold ${row.id}` }, "Release …");
  button.addEventListener("click", () => release(row.id));
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
  const seconds = (((now() - Date.parse(row.created_at)) / 1000) * (row.matched - row.changed)) / row.changed;
  return [bar, " ", done, row.changed && seconds > 1 ? `, about ${duration(seconds)} left` : ""];
}

// null if the token may not read it.
const unlessForbidden = (asked) => asked.catch((error) => {
  if (error.status !== 403) throw error;
  return null;
});

// Calls `onRelease` with the id of a hold. Returns a function that reads the lists again.
export function showLists(id, signal, onRelease) {
  release = onRelease;
  for (const table of [holds, jobs, entries]) table.clear();
  $("control").hidden = $("audit").hidden = true;
  const body = { id, ...SHOWN };
  const readHolds = poll(async (step) => {
    const found = await unlessForbidden(ask("jobs/", step, { body }));
    const active = await ask("holds/", step, { body });
    $("control").hidden = found === null;
    holds.fill(active.data);
    if (found) jobs.fill(found.data);
  }, new Freshness($("acting"), signal), signal);
  const readAudit = poll(async (step) => {
    const found = await unlessForbidden(ask("audit/", step, { body }));
    $("audit").hidden = found === null;
    if (found) entries.fill(found.data);
  }, new Freshness($("audit"), signal), signal, AUDIT_MS);
  return () => [readHolds, readAudit].forEach((again) => again());
}
