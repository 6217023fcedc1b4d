// Tables whose rows are updated in place.
import { ask, inUrl } from "./client.js";
import { arrange, element, render } from "./dom.js";
import { grouped, keyOf } from "./words.js";

export const STATUSES = ["new", "proc", "retry", "hold"];
const FEW = 100;
const MANY = 1000;

// A column has a `title`, `show(row)` (a list of texts and elements), a `kind` (its class), and an `order` if rows can be sorted by it.
export class Table {
  constructor(table, columns, idOf, { order = null, empty = "" } = {}) {
    Object.assign(this, { columns, idOf, order, lines: new Map(), body: element("tbody") });
    this.heads = columns.map((column) => this.makeHead(column));
    this.empty = element("tr", {}, element("td", { colspan: columns.length, class: "text quiet" }, empty));
    table.replaceChildren(element("thead", {}, element("tr", {}, ...this.heads)), this.body);
    this.drawOrder();
  }

  makeHead({ title, order, kind = "" }) {
    const head = element("th", { scope: "col", class: kind }, order ? "" : title);
    if (!order) return head;
    const button = element("button", { type: "button" }, title);
    button.addEventListener("click", () => {
      this.order = order;
      this.drawOrder();
      this.onOrder?.();
    });
    head.append(button);
    return head;
  }

  drawOrder() {
    this.columns.forEach(({ order, isAscending }, index) => {
      if (order && order === this.order) this.heads[index].setAttribute("aria-sort", isAscending ? "ascending" : "descending");
      else this.heads[index].removeAttribute("aria-sort");
    });
  }

  clear() {
    this.lines = new Map();
    this.body.replaceChildren();
  }

  fill(rows) {
    this.lines = new Map(rows.map((row) => [this.idOf(row), this.lines.get(this.idOf(row)) ?? this.makeLine()]));
    for (const row of rows) {
      const { cells } = this.lines.get(this.idOf(row));
      this.columns.forEach(({ show }, index) => render(cells[index], ...show(row)));
    }
    arrange(this.body, rows.length ? [...this.lines.values()] : [this.empty]);
  }

  makeLine() {
    return element("tr", {}, ...this.columns.map(({ kind = "" }) => element("td", { class: kind })));
  }
}

// How the statuses share the row's messages; as long as these are among the most of a row.
function bar(row, most) {
  const parts = STATUSES.filter((status) => row[status]);
  const shares = parts.map((status) => element("span", { class: status }));
  shares.forEach((share, index) => (share.style.flexGrow = row[parts[index]]));
  const label = parts.map((status) => `${grouped(row[status])} ${status}`).join(", ");
  const drawn = element("div", { class: "bar", role: "img", "aria-label": label, title: label }, ...shares);
  drawn.style.width = `${Math.max(1, (100 * row.total) / most)}%`;
  return drawn;
}

// The senders, or the accounts, campaigns or ISPs of one, with their messages by status.
export class CountTable extends Table {
  constructor(section, by, showKey = (row) => keyOf(row, by)) {
    const counts = [...STATUSES, "total"].map((name) => ({ title: name, order: name, show: (row) => [grouped(row[name])] }));
    const key = { title: by === "isp" ? "ISP" : by, order: "key", isAscending: true, kind: "text", show: showKey };
    const bars = { title: "by status", kind: "text bars", show: (row) => [bar(row, this.most)] };
    const idOf = (row) => row[by === "isp" ? "isp" : `${by}_id`];
    super(section.querySelector("table"), [key, ...counts, bars], idOf, { order: "total", empty: "No message." });
    Object.assign(this, { by, limit: FEW, section, cut: section.querySelector(".cut") });
    this.more = element("button", { type: "button", class: "quiet" }, `Show ${grouped(MANY)}`);
    this.more.addEventListener("click", () => {
      this.limit = MANY;
      this.onOrder?.();
    });
  }

  // The rows of the chosen order. `read` is what the rows come from: `top`, or a substitute.
  async look(read, signal) {
    const order = this.order === "key" ? "total" : this.order;
    const rows = await read({ by: this.by, order, limit: this.limit }, signal);
    this.show(rows, order);
  }

  show(rows, order) {
    this.most = Math.max(1, ...rows.map((row) => row.total));
    const idOf = this.by === "isp" ? (row) => row.isp : (row) => BigInt(this.idOf(row));
    const compare = (a, b) => (idOf(a) > idOf(b)) - (idOf(a) < idOf(b));
    this.fill(this.order === "key" ? rows.toSorted(compare) : rows);
    const isCut = rows.length >= this.limit;
    const more = this.limit === FEW ? [" ", this.more] : [];
    render(this.cut, ...(isCut ? [`The ${grouped(this.limit)} with the most messages (${order}). Others are not shown.`, ...more] : []));
  }

  clear() {
    super.clear();
    this.limit = FEW;
    render(this.cut);
  }
}

export const top = async (parameters, signal) => (await ask(`top/?${inUrl(parameters)}`, signal)).data;

// What `top` answers of a sender, from `stats`: for a token that is limited to accounts.
export async function ofLimited({ id, by, order, limit }, signal) {
  const group = by === "campaign" ? "account_campaign" : by;
  const { data } = await ask("stats/", signal, { body: { id, group, ids: "string", names: 1 } });
  const sums = new Map();
  for (const row of data) {
    const key = by === "isp" ? row.isp : row[`${by}_id`];
    const sum = sums.get(key) ?? { ...row, new: 0, proc: 0, retry: 0, hold: 0, total: 0 };
    for (const name of [...STATUSES, "total"]) sum[name] += row[name];
    sums.set(key, sum);
  }
  return [...sums.values()].filter((row) => row[order]).sort((a, b) => b[order] - a[order]).slice(0, limit);
}
