/**
 * The counts that the server gave at a position, and the notifications that came after it.
 *
 * @typedef {{reader: string, unseen: number, unread: number, version: number, position: string}} State
 */

import { compare } from "../position.js";

/** The highest count; it is shown as 99+. */
const MOST = 100;

/** @type {State} */
let state;
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
/** How many of them are kept: enough for the highest count. */
const KEPT = 2 * MOST;

/**
 * Return whether the state does not count a notification yet.
 *
 * @param {string} id
 */
export const isUncounted = (id) => compare(id, state.position) > 0;

/** @param {"unseen" | "unread"} name */
export const count = (name) => {
  let sum = state[name];
  for (const id of came.values()) if (isUncounted(id)) sum += 1;
  return Math.min(MOST, sum);
};

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
  came.delete(key);
  came.set(key, id);
  for (const oldest of came.keys()) {
    if (came.size <= KEPT) break;
    came.delete(oldest);
  }
  tell();
  return !(compare(id, start) <= 0);
};

/**
 * Return whether a notification has come that the inbox at a position does not hold yet.
 *
 * @param {string} position
 */
export const isAhead = (position) => [...came.values()].some((id) => compare(id, position) > 0);
