// Numbers, times and keys as the page writes them.
import { element } from "./dom.js";

const number = new Intl.NumberFormat("en");

export const grouped = (value) => number.format(value);
// Of a number within the last five full minutes.
export const perMinute = (count) => grouped(Math.round((count / 5) * 10) / 10);
export const messages = (count) => `${grouped(count)} ${count === 1 ? "message" : "messages"}`;
export const sentence = (text) => `${text}.`.replace(/\.\.$/, ".");

const two = (value) => String(value).padStart(2, "0");
const day = (at) => `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
const minute = (at) => `${two(at.getHours())}:${two(at.getMinutes())}`;

// In the reader's zone: the time of today, or the day too. `at` is in milliseconds.
export function moment(at) {
  const date = new Date(at);
  const text = `${minute(date)}:${two(date.getSeconds())}`;
  return day(date) === day(new Date()) ? text : `${day(date)} ${text}`;
}

// A time on the axis of a chart: midnight is written as its day.
export function onAxis(seconds) {
  const date = new Date(seconds * 1000);
  return minute(date) === "00:00" ? day(date).slice(5) : minute(date);
}

// In its two largest units.
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [days, hours, minutes] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  if (days >= 10) return `${grouped(days)} d`;
  if (days) return `${grouped(days)} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

// `shown` stands for the time; the time itself is there for a pointer and for machines.
export const timed = (iso, shown) => element("time", { datetime: iso, title: moment(Date.parse(iso)) }, shown);

// Since when no message has left, as a text; null if one has left in the last five full minutes or after them.
export function stillSince({ left, last_left, window }) {
  if (left !== 0) return null;
  if (!last_left) return "not known";
  const [minute, end] = [Date.parse(last_left), Date.parse(window.to)];
  return minute < end ? moment(minute + 60000) : null;
}

// A name may be written from right to left: its own element keeps it from turning the words around it.
export const isolated = (text) => element("bdi", {}, text);

export const named = (id, name) => (name ? [isolated(name), ` (${id})`] : [id]);

// The member of a row or a request that has a key, and the word for it.
export const fieldOf = (key) => (key === "isp" ? "isp" : `${key}_id`);
export const wordOf = (key) => (key === "isp" ? "ISP" : key);
export const numberOf = (count, by) => `${grouped(count)} ${by.length > 1 ? "row" : wordOf(by[0])}${count === 1 ? "" : "s"}`;

// What a row stands for. Messages without an ISP are no ISP of the name "without ISP": the words look different.
export function keyOf(row, by) {
  const id = row[fieldOf(by)];
  if (id === "" || id === "0") return [element("i", {}, `without ${wordOf(by)}`)];
  return by === "isp" ? [isolated(id)] : named(id, row[`${by}_name`]);
}

// The messages that a hold or a job is for: a filter that is left out (null) is not one of 0.
export function filterOf(row) {
  const given = ["account", "campaign", "isp"].filter((by) => row[fieldOf(by)] !== null);
  if (!given.length) return ["the whole queue"];
  return given.flatMap((by, index) => [index ? ", " : "", `${wordOf(by)} `, ...keyOf(row, by)]);
}
