/**
 * The counts that the server gave at a position, and the notifications that came after it.
 *
 * @typedef {{reader: string, unseen: number, unread: number, version: number, position: string}} State
 */

import { compare } from "../position.js";

/** The highest count; it is shown as 99+. */
const MAX_COUNT = 100;

/** How long to wait at first before asking again for an answer that lacks a new notification, in milliseconds. */
const LATER = 500;

/** @type {State} */
let state;
/** How long it was last. */
let patience = 0;
/** The position at which the page was made. @type {string} */
let start;
/** Called when the counts may have changed. @type {() => void} */
let tell;
/**
 * The ids of new notifications, the latest last. Those that collapse into one have the same key.
 *
 * @type {Map<string, string>}
 */
const came = new Map();
/** How many of them are kept, and of the page's titles: enough for the highest count. */
const KEPT = 2 * MAX_COUNT;

/**
 * Keep something as the latest of its kind, and forget what was kept long before.
 *
 * @param {Map<string, string>} kept
 * @param {string} key
 * @param {string} value
 */
export const keep = (kept, key, value) => {
  kept.delete(key);
  kept.set(key, value);
  if (kept.size > KEPT) kept.delete(/** @type {string} */ (kept.keys().next().value));
};

/**
 * Return whether the state does not count a notification yet.
 *
 * @param {string} id
 */
export const isUncounted = (id) => compare(id, state.position) > 0;

/** Return how many notifications have come after a position. @param {string} position */
const countAfter = (position) => [...came.values()].filter((id) => compare(id, position) > 0).length;

/** @param {"unseen" | "unread"} name */
export const count = (name) => Math.min(MAX_COUNT, state[name] + countAfter(state.position));

/**
 * Begin with the state in the page.
 *
 * @param {State} said
 * @param {() => void} changed
 */
export const begin = (said, changed) => {
  state = said;
  start = said.position;
  tell = changed;
  came.clear();
};

/**
 * Take the server's state, unless there is none or a newer state of the same epoch is known.
 *
 * @param {State | false} said
 */
export const take = (said) => {
  if (!said) return;
  const order = compare(said.position, state.position);
  if ((said.version - state.version || order) < 0 && !Number.isNaN(order)) return;
  state = said;
  tell();
};

/** Return what notifications have in common that collapse into one. @param {any} event */
export const keyOf = ({ id, group, data }) => (data.collapse ? `${group} ${data.collapse}` : id);

/**
 * Count a notification; return whether it is news to the page. A new body of the page is told older ones again.
 *
 * @param {any} event
 */
export const add = (event) => {
  const key = keyOf(event);
  const { id } = event;
  if (compare(id, came.get(key) ?? "") <= 0) return false;
  keep(came, key, id);
  tell();
  return !(compare(id, start) <= 0);
};

/**
 * Ask again after a while if a notification has come that the inbox at a position does not hold yet. The server may not be
 * able to file it for long, so the while grows.
 *
 * @param {string} position
 * @param {(wait: number) => void} ask
 */
export const catchUp = (position, ask) => {
  patience = countAfter(position) && Math.min(2 * patience || LATER, 60_000);
  if (patience) ask(patience);
};
