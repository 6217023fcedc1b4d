// One page of a report, as the address selects it. The service sorts and counts the rows. The page states omissions.
import { go, href } from "./address.js";
import { element, render } from "./dom.js";
import { Freshness, poll } from "./fresh.js";
import { Rows } from "./rows.js";
import { CountTable, STATUSES } from "./tables.js";
import { fieldOf, grouped, keyOf, numberOf, sentence, wordOf } from "./words.js";

const LIMIT = 100;
const ORDERS = ["key", "total", ...STATUSES];
const FIRST_PAGE = { after: null, first: null };
const SEARCH_MS = 300;
// Slow reports are read less often, but before their numbers are old.
export const restAfter = (tookMs) => Math.min(15000, Math.max(2000, 10 * tookMs));

export class Report {
  // `keys` are the possible keys of rows; the first one is the default. `cellOf(row, key, report)` shows the key of a
  // row, and `more(report)` returns further columns.
  constructor(section, keys, cellOf, more = () => []) {
    Object.assign(this, { section, keys, cellOf, more, names: new Map() });
    this.part = (name) => section.querySelector(`.${name}`);
    const on = (name, event, act) => this.part(name)?.addEventListener(event, act);
    for (const button of section.querySelectorAll("[data-key]")) button.onclick = () => this.toggle(button.dataset.key);
    for (const button of section.querySelectorAll("[data-status]")) button.onclick = () => this.go({ status: button.dataset.status || null });
    on("only", "submit", (event) => this.addFilter(event));
    on("only", "change", () => (this.part("value").pattern = this.part("key").value === "isp" ? ".*" : "[0-9]*"));
    // A disabled button loses the focus, so these buttons have only aria-disabled.
    const turns = (name, act) => on(name, "click", () => this.part(name).ariaDisabled === "true" || act());
    turns("first", () => this.turn(null, null, []));
    turns("previous", () => this.turn(...this.before.at(-1), this.before.slice(0, -1)));
    turns("next", () => this.turn(this.next, this.first + this.shown, [...this.before, [this.parameters.get("after"), this.first]]));
    on("search", "input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.go({ search: this.part("search").value.trim() || null }, { isReplaced: true }), SEARCH_MS);
    });
  }

  // Shows the report until the view ends. With `sender`, the report is on one sender.
  open(address, signal, sender = null) {
    Object.assign(this, { sender, by: [], rows: new Rows() });
    this.again = null;
    this.update(address);
    this.clear();
    const freshness = new Freshness(this.section, signal);
    this.again = poll((step) => this.look(step), freshness, signal, restAfter);
    signal.addEventListener("abort", () => clearTimeout(this.typing));
  }

  // Shows another address of the same view.
  update({ path, parameters }) {
    const chosen = (parameters.get("by") ?? "").split(",");
    const by = this.keys.filter((key) => chosen.includes(key));
    const order = parameters.get("order");
    Object.assign(this, { path, parameters, order: ORDERS.includes(order) ? order : "total", first: Number(parameters.get("first")) || 1 });
    this.status = STATUSES.includes(parameters.get("status")) ? parameters.get("status") : "";
    this.before = history.state?.before ?? [];
    this.hasFocus = this.section.contains(document.activeElement);
    this.filters = this.keys.filter((key) => key !== "sender" && parameters.has(key));
    this.makeTable(by.length ? by : this.keys.slice(0, 1));
    this.drawControls();
    this.section.classList.add("waiting");
    this.again?.();
  }

  makeTable(by) {
    if (by.join() !== this.by.join()) {
      this.table = new CountTable(this.section.querySelector("table"), by, (key) => (row) => this.cellOf(row, key, this), this.more(this));
      this.table.onOrder = (order) => this.go({ order: order === "total" ? null : order });
    }
    this.by = by;
    this.table.order = this.order;
    this.table.drawOrder();
  }

  drawControls() {
    for (const button of this.section.querySelectorAll("[data-key]")) button.setAttribute("aria-pressed", this.by.includes(button.dataset.key));
    for (const button of this.section.querySelectorAll("[data-status]")) button.setAttribute("aria-pressed", button.dataset.status === this.status);
    const search = this.part("search");
    if (search && search !== document.activeElement) search.value = this.parameters.get("search") ?? "";
    render(this.part("chips"), ...this.filters.map((key) => this.chip(key)));
    this.part("first").ariaDisabled = !this.parameters.has("after");
    this.part("previous").ariaDisabled = !this.before.length;
    this.part("next").ariaDisabled = true;
  }

  // A filter, as a link that removes it.
  chip(key) {
    const value = this.parameters.get(key);
    const row = { [fieldOf(key)]: value, [`${key}_name`]: this.names.get(`${key} ${value}`) };
    const words = value === "" || value === "0" ? keyOf(row, key) : [`${wordOf(key)} `, ...keyOf(row, key)];
    return element("a", { href: this.href({ [key]: null }), class: "chip", title: "Remove this filter" }, ...words, " ×");
  }

  href(changes) {
    const by = changes.by === this.keys[0] ? { by: null } : {};
    return href(this, { ...FIRST_PAGE, ...changes, ...by });
  }

  go(changes, how) {
    go(this.href(changes), how);
  }

  toggle(key) {
    const by = this.keys.filter((each) => this.by.includes(each) !== (each === key));
    if (by.length) this.go({ by: by.join() });
  }

  turn(after, first, before) {
    go(href(this, { after, first: after && first }), { state: { before } });
    if (this.section.getBoundingClientRect().top < 0) this.section.scrollIntoView();
  }

  addFilter(event) {
    event.preventDefault();
    const key = this.part("key").value;
    const value = this.part("value").value;
    this.part("value").value = "";
    this.go({ [key]: value === "" && key !== "isp" ? "0" : value });
  }

  // A link to the messages of the key of this row. If it was the only key, the rows are by the next key.
  hrefOf(row, key) {
    const rest = this.by.filter((each) => each !== key);
    const free = this.keys.filter((each) => each !== key && !this.filters.includes(each));
    return this.href({ [key]: row[fieldOf(key)], by: (rest.length ? rest : free.slice(0, 1)).join() || key });
  }

  // The filter of a row for a request with effects; null for messages without a key.
  filterOf(row) {
    const filter = Object.fromEntries(this.filters.map((key) => [fieldOf(key), this.parameters.get(key)]));
    for (const key of this.by) filter[fieldOf(key)] = row[fieldOf(key)];
    return Object.values(filter).some((value) => value === "" || value === "0") ? null : filter;
  }

  body() {
    const { by, order, parameters, sender, status } = this;
    const body = { by, order, limit: LIMIT, ...(sender && { senders: [sender] }), ...(status && { status }) };
    for (const key of this.filters) body[fieldOf(key)] = [parameters.get(key)];
    for (const name of ["search", "after"]) if (parameters.get(name)) body[name] = parameters.get(name);
    return body;
  }

  async look(step) {
    try {
      this.show(await this.rows.read(this.body(), step));
    } catch (error) {
      if (!step.aborted) this.refuse(error);
    }
  }

  show({ data, next, count, isCut }) {
    Object.assign(this, { next, shown: data.length });
    for (const row of data) for (const key of this.by) this.names.set(`${key} ${row[fieldOf(key)]}`, row[`${key}_name`]);
    this.table.show(data);
    this.part("next").ariaDisabled = next === null;
    const last = this.first + data.length - 1;
    const number = count ?? (next === null && !isCut ? last : null);
    const all = isCut ? ", and others that are not shown" : number === null ? ", and more" : ` of ${numberOf(number, this.by)}`;
    render(this.part("range"), data.length ? `${grouped(this.first)}–${grouped(last)}${all}` : "");
    render(this.part("refusal"));
    this.section.classList.remove("waiting");
    // The link that was followed may have been removed.
    if (this.hasFocus && document.activeElement === document.body) this.section.querySelector(".scroll").focus({ preventScroll: true });
  }

  // A refusal is not a problem: its text names an alternative. The rows of the former address are removed.
  refuse(error) {
    // 403: the first view shows the limits of the token. For one sender it is an error.
    const isRefusal = error.status === 400 || (error.status === 403 && !this.sender);
    if (isRefusal || this.section.classList.contains("waiting")) this.clear();
    if (!isRefusal) throw error;
    this.section.classList.remove("waiting");
    render(this.part("refusal"), sentence(error.message));
  }

  clear() {
    this.table.clear();
    for (const name of ["range", "refusal"]) render(this.part(name));
  }
}
