// Tables whose rows are updated in place.
import { arrange, element, render } from "./dom.js";
import { fieldOf, grouped, wordOf } from "./words.js";

export const STATUSES = ["new", "proc", "retry", "hold"];

// A column has a `title`, `show(row)` (a list of texts and elements) and a `kind` (its class). It has an `order` if
// rows can be sorted by it, and a `mark` if its heading shows the colour of a status.
export class Table {
  constructor(table, columns, idOf, { order = null, empty = "" } = {}) {
    Object.assign(this, { columns, idOf, order, lines: new Map(), body: element("tbody") });
    this.heads = columns.map((column) => this.makeHead(column));
    this.empty = element("tr", {}, element("td", { colspan: columns.length, class: "text quiet" }, empty));
    table.replaceChildren(element("thead", {}, element("tr", {}, ...this.heads)), this.body);
    this.drawOrder();
  }

  makeHead({ title, order, kind = "", mark = "" }) {
    const head = element("th", { scope: "col", class: kind }, order ? "" : title);
    if (!order) return head;
    const button = element("button", { type: "button", class: mark && `mark ${mark}` }, title);
    button.addEventListener("click", () => {
      this.order = order;
      this.drawOrder();
      this.onOrder?.(order);
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

// The shares of the statuses in the messages of a row. The length is relative to the row with most messages.
function bar(row, most) {
  const parts = STATUSES.filter((status) => row[status]);
  const shares = parts.map((status) => element("span", { class: status }));
  shares.forEach((share, index) => (share.style.flexGrow = row[parts[index]]));
  const label = parts.map((status) => `${grouped(row[status])} ${status}`).join(", ");
  const drawn = element("div", { class: "bar", role: "img", "aria-label": label, title: label }, ...shares);
  drawn.style.width = `${Math.max(1, (100 * row.total) / most)}%`;
  return drawn;
}

// Messages by status, with a column for each key in `by`, which `cellOf(key)` shows. `more` has further columns.
export class CountTable extends Table {
  constructor(table, by, cellOf, more = []) {
    const keys = by.map((key, index) => ({ title: wordOf(key), kind: "text", show: cellOf(key), ...(index === 0 && { order: "key", isAscending: true }) }));
    const counts = [...STATUSES, "total"].map((name) => ({ title: name, mark: name === "total" ? "" : name, order: name, show: (row) => [grouped(row[name])] }));
    const bars = { title: "by status", kind: "text bars", show: (row) => [bar(row, this.most)] };
    super(table, [...keys, ...counts, bars, ...more], (row) => JSON.stringify(by.map((key) => row[fieldOf(key)])), { empty: "No messages." });
  }

  show(rows) {
    this.most = Math.max(1, ...rows.map((row) => row.total));
    this.fill(rows);
  }
}
