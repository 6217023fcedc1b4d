// Rows of a report from the service, with how many there are of all pages.
import { SHOWN, ask, inUrl } from "./client.js";

// The number of rows of a long list takes more than its page.
const NUMBER_MS = 15000;

export const top = async (parameters, signal) => (await ask(`top/?${inUrl(parameters)}`, signal)).data;

// What the service refuses with 400 is undefined.
const unlessRefused = (asked) => asked.catch((error) => {
  if (error.status !== 400) throw error;
});

export class Rows {
  constructor() {
    this.number = {};
  }

  // `data`, the cursor `next`, and `count` where it is known; of a list that is cut, `isCut`. What takes too many counters
  // is asked for without the number of rows, then as the list of the largest. Raises what the service refuses then.
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

// The only list of a cluster; null where it has none of these keys and filters.
async function largest({ by: [key, another], order, limit, senders: [id] = [], ...filters }, signal) {
  if (another || order === "key" || Object.keys(filters).length || !(id || key === "sender")) return null;
  return top({ by: key, order, limit, ...(id && { id }) }, signal);
}
