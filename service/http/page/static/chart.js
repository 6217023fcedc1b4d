// The history of a sender, drawn by uPlot. A time without a record is a gap.
import { ask, now } from "./client.js";
import { $, element, render } from "./dom.js";
import { STATUSES } from "./tables.js";
import { grouped, moment, onAxis } from "./words.js";

export const RANGES = { hour: 3600, day: 86400, week: 604800 };
const HEIGHT = 220;
const FLOWS = ["arrived", "left"];

// The current colour of a variable of the style sheet.
function colour(name) {
  const probe = element("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

// A list of times, and a list of values for each of `names`. A step without a row is a point without values.
export function pointsOf(rows, stepSeconds, names) {
  const points = [[], ...names.map(() => [])];
  const add = (at, row) => [at, ...names.map((name) => row?.[name] ?? null)].forEach((value, index) => points[index].push(value));
  rows.forEach((row, index) => {
    const former = rows[index - 1]?.at;
    if (former && row.at - former > 1.5 * stepSeconds) add(former + stepSeconds, null);
    add(row.at, row);
  });
  return points;
}

class Plot {
  constructor(node, names, range, height) {
    Object.assign(this, { node, names, height });
    const axis = { stroke: colour("quiet"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false } };
    const value = (plot, found) => (found === null ? "–" : grouped(Math.round(found)));
    this.plot = new uPlot({
      width: node.clientWidth || 600,
      height,
      cursor: { sync: { key: "queuestats" } },
      scales: {
        x: { range: () => [now() / 1000 - RANGES[range], now() / 1000] },
        y: { range: (plot, low, high) => [0, Math.max(1, high) * 1.1] },
      },
      axes: [
        { ...axis, size: 30, values: (plot, splits) => splits.map(onAxis) },
        { ...axis, size: 76, values: (plot, splits) => splits.map(grouped) },
      ],
      series: [
        { label: "at", value: (plot, at) => (at === null ? "–" : moment(at * 1000)) },
        ...names.map((name) => ({ label: name, stroke: colour(name), width: 2, value })),
      ],
    }, [[], ...names.map(() => [])], node);
  }

  draw(rows, stepSeconds) {
    this.plot.setData(pointsOf(rows, stepSeconds, this.names));
  }

  fit() {
    this.plot.setSize({ width: this.node.clientWidth, height: this.height });
  }
}

export class Chart {
  constructor(sender, range, signal) {
    Object.assign(this, { sender, range, rows: [], current: null, stepSeconds: 60 });
    this.make();
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", () => this.make(), { signal });
    const resized = new ResizeObserver(() => this.plots.forEach((plot) => plot.fit()));
    resized.observe($("chart"));
    signal.addEventListener("abort", () => {
      resized.disconnect();
      this.close();
    });
  }

  make() {
    if (this.isClosed) return;
    this.remove();
    const make = (id, names, height) => new Plot($(id), names, this.range, height);
    this.plots = [make("counts", STATUSES, HEIGHT), make("flows", FLOWS, HEIGHT)];
    this.draw();
  }

  remove() {
    for (const { plot } of this.plots ?? []) plot.destroy();
    this.plots = [];
  }

  show(range) {
    Object.assign(this, { range, rows: [] });
    this.make();
  }

  // Called if there is no history.
  close() {
    this.isClosed = true;
    this.remove();
  }

  // Throws the errors of `history`. A response for a former range is ignored.
  async look(signal) {
    const range = this.range;
    const askedAt = now();
    const { data } = await ask("history/", signal, { body: { id: this.sender, from: RANGES[range] } });
    if (range !== this.range) return;
    const rows = data.map((row) => ({ ...row, at: Date.parse(row.at) / 1000 }));
    this.stepSeconds = Math.min(...rows.slice(1).map((row, index) => row.at - rows[index].at), 3600);
    // The current step ends in the future.
    const unfinished = rows.pop();
    this.rows = rows.map((row) => this.perMinute(row));
    if (askedAt > (this.current?.at ?? 0) * 1000) this.add(askedAt, unfinished);
    else this.draw();
  }

  perMinute(row) {
    const minutes = this.stepSeconds / 60;
    const flow = (count) => (count === null ? null : count / minutes);
    return { ...row, arrived: flow(row.arrived), left: flow(row.left) };
  }

  // Adds the current counts, which are the last point.
  add(at, row) {
    this.current = { ...row, at: at / 1000, arrived: null, left: null };
    this.draw();
  }

  draw() {
    if (!this.plots.length) return;
    const rows = this.current ? [...this.rows.filter((row) => row.at < this.current.at), this.current] : this.rows;
    for (const plot of this.plots) plot.draw(rows, this.stepSeconds);
    const [first] = this.rows;
    const recorded = () => `Recorded since ${moment(first.at * 1000)}, in steps of ${this.stepSeconds / 60} min.`;
    render($("recorded"), first ? recorded() : "There is no history for this time range.");
  }
}
