// Formats of numbers, times and keys.
import { element } from "./dom.js";

const number = new Intl.NumberFormat("en");

export const grouped = (value) => number.format(value);
// The rate per minute, from a number within the last five full minutes.
export const perMinute = (count) => grouped(Math.round((count / 5) * 10) / 10);
export const messages = (count) => `${grouped(count)} ${count === 1 ? "message" : "messages"}`;
export const sentence = (text) => `${text}.`.replace(/\.\.$/, ".");

const two = (value) => String(value).padStart(2, "0");
const day = (at) => `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
const minute = (at) => `${two(at.getHours())}:${two(at.getMinutes())}`;

// A time in the zone of the browser, with its day unless it is today. `at` is in milliseconds.
export function moment(at) {
  const date = new Date(at);
  const text = `${minute(date)}:${two(date.getSeconds())}`;
  return day(date) === day(new Date()) ? text : `${day(date)} ${text}`;
}

// A time on the axis of a chart. Midnight is written as the day.
export function onAxis(seconds) {
  const date = new Date(seconds * 1000);
  return minute(date) === "00:00" ? day(date).slice(5) : minute(date);
}

// A duration in its two largest units.
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [days, hours, minutes] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  if (days >= 10) return `${grouped(days)} d`;
  if (days) return `${grouped(days)} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

// An element with the text `shown`. The exact time is its title and its `datetime`.
export const timed = (iso, shown) => element("time", { datetime: iso, title: moment(Date.parse(iso)) }, shown);

// The time since which no message has left, as a text; null if one has left in the last five full minutes or later.
export function stillSince({ left, last_left, window }) {
  if (left !== 0) return null;
  if (!last_left) return "not known";
  const [minute, end] = [Date.parse(last_left), Date.parse(window.to)];
  return minute < end ? moment(minute + 60000) : null;
}

// A name may be written from right to left. Its own element isolates the direction of the surrounding text.
export const isolated = (text) => element("bdi", {}, text);

export const named = (id, name) => (name ? [isolated(name), ` (${id})`] : [id]);

// The member of a row or a request for a key, and the word for the key.
export const fieldOf = (key) => (key === "isp" ? "isp" : `${key}_id`);
export const wordOf = (key) => (key === "isp" ? "ISP" : key);
export const numberOf = (count, by) => `${grouped(count)} ${by.length > 1 ? "row" : wordOf(by[0])}${count === 1 ? "" : "s"}`;

// The key of a row. "without ISP" is in italics, so that it differs from an ISP with this name.
export function keyOf(row, by) {
  const id = row[fieldOf(by)];
  if (id === "" || id === "0") return [element("i", {}, `without ${wordOf(by)}`)];
  return by === "isp" ? [isolated(id)] : named(id, row[`${by}_name`]);
}

// The filter of a hold or a job. A filter that is left out is null, not 0.
export function filterOf(row) {
  const given = ["account", "campaign", "isp"].filter((by) => row[fieldOf(by)] !== null);
  if (!given.length) return ["the whole queue"];
  return given.flatMap((by, index) => [index ? ", " : "", `${wordOf(by)} `, ...keyOf(row, by)]);
}
