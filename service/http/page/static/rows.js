// Reads the rows of a report, and the number of rows of all pages.
import { SHOWN, ask, inUrl } from "./client.js";

// Counting the rows of a long list takes longer than reading a page.
const NUMBER_MS = 15000;

export const top = async (parameters, signal) => (await ask(`top/?${inUrl(parameters)}`, signal)).data;

// undefined if the service refuses it with 400.
const unlessRefused = (asked) => asked.catch((error) => {
  if (error.status !== 400) throw error;
});

export class Rows {
  constructor() {
    this.number = {};
  }

  // Returns `data`, the cursor `next`, `count` if it is known, and `isCut` if further rows have no cursor. If the request
  // needs too many counters, it is repeated without `count`, then as the list of the largest. Throws the last refusal.
  async read(body, signal) {
    const asked = { ...body, ...SHOWN };
    const found = await unlessRefused(ask("report/", signal, { body: { ...asked, count: 1 } }));
    if (found) return found.count === null ? { ...found, count: await this.count(asked, signal) } : found;
    try {
      return await ask("report/", signal, { body: asked });
    } catch (error) {
      const data = error.status === 400 && (await largest(body, signal));
      if (!data) throw error;
      return { data, next: null, isCut: data.length === body.limit };
    }
  }

  async count({ after, ...body }, signal) {
    const query = JSON.stringify(body);
    if (this.number.query !== query || Date.now() - this.number.readAt > NUMBER_MS) {
      const found = await unlessRefused(ask("report/", signal, { body: { ...body, order: "key", limit: 1, count: 1 } }));
      this.number = { query, count: found?.count ?? null, readAt: Date.now() };
    }
    return this.number.count;
  }
}

// The list of the largest, which has no limit on counters; null if it does not support these keys and filters.
async function largest({ by: [key, another], order, limit, senders: [id] = [], ...filters }, signal) {
  if (another || order === "key" || Object.keys(filters).length || !(id || key === "sender")) return null;
  return top({ by: key, order, limit, ...(id && { id }) }, signal);
}
