// A client with the types that openapi-typescript generates. tests/clients/test_generated.py compiles and runs it.

import type { components, paths } from "./openapi.js";

declare const process: { env: Record<string, string> };

type Schemas = components["schemas"];
type Queue = "/api/v1.1/admin/senders/queue";
type Stats = paths[`${Queue}/stats/`]["post"];
type Request = Stats["requestBody"]["content"]["application/json"];
type Report = Stats["responses"][200]["content"]["application/json"];

async function post<Answer>(call: string, body: object): Promise<Answer> {
  const response = await fetch(`${process.env.QUEUE_URL}/api/v1.1/admin/senders/queue/${call}/`, {
    method: "POST",
    headers: { authorization: `Bearer ${process.env.QUEUE_TOKEN}` } satisfies HeadersInit,
    body: JSON.stringify(body),
  });
  return response.json();
}

const shortest: Request = { id: 119 };
const longest: Request = { id: 119, group: "isp", with: ["rates"], ids: "string", names: 1 };
// @ts-expect-error a group that does not exist
const wrong: Request = { id: 119, group: "country" };
const hold: Schemas["HoldRequest"] = { id: 119, isp: "Yahoo", details: 1 };
// @ts-expect-error a call with effects takes its own parameters alone
const misspelt: Schemas["HoldRequest"] = { id: 119, account: 306 };

const report: Report = await post("stats", shortest);
const total: number = report.data[0]!.total;
const rates: Report = await post("stats", longest);
const arrived: (number | null | undefined)[] = rates.data.map((row) => row.arrived);
const held: Schemas["ControlResponse"] = await post("hold", hold);
const changed: number | undefined = held.details?.messages;
const holds: Schemas["HoldsResponse"] = await post("holds", shortest);
const messages: number = holds.data.find((row) => row.isp === "Yahoo")!.messages;
const jobs: Schemas["JobsResponse"] = await post("jobs", shortest);
const action: "hold" | "release" | "purge" = jobs.data[0]!.action;
const history: Schemas["HistoryResponse"] = await post("history", shortest);
const at: string = history.data.at(-1)!.at;
// @ts-expect-error rows have the members that are described
const nothing: unknown = jobs.data[0]!.nothing;
const refused: Schemas["Error"] = await post("stats", { id: 0 });

console.log(JSON.stringify([total, arrived.length, changed, messages, action, !isNaN(Date.parse(at)), refused.error]));
