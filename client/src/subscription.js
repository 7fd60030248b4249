/** @typedef {import("./types.js").Envelope} Envelope */
/** @typedef {import("./types.js").Own} Own */
/** @typedef {import("./types.js").Session} Session */

import { announce, dispatch } from "./events.js";

/**
 * Store the groups that a hello grants and refuses; return the groups that it no longer grants.
 *
 * @param {Session} session
 * @param {Own} hello
 */
export const admit = (session, { groups, refused }) => {
  const gone = session.grants.filter((group) => refused.includes(group));
  session.grants = groups;
  session.refusals = refused;
  return gone;
};

/**
 * Note that the server no longer lets this client read some groups.
 *
 * @param {Session} session
 * @param {string[]} groups
 */
export const revoke = (session, groups) => {
  const mine = groups.filter((group) => session.wanted.has(group));
  session.grants = session.grants.filter((group) => !groups.includes(group));
  session.refusals = [...new Set([...session.refusals, ...groups])];
  if (mine.length) dispatch(session.target, "revoked", { groups: mine });
};

/**
 * Pass an event on to the page, with only the groups that this tab wants (followers may want the others) and that have
 * not had it. A group that is owed older events gets them first.
 *
 * @param {Session} session
 * @param {Envelope} event
 */
export const take = ({ wanted, owed, cursor, target }, event) => {
  const groups = event.groups ?? [event.group];
  const mine = cursor.news(
    event.id,
    [...wanted].filter((group) => groups.includes(group) && !(event.id && owed.has(group))),
    /** @type {string[]} */ (groups),
  );
  const [first, second] = mine;
  if (!first) return;
  event.group = first;
  if (second) event.groups = mine;
  else delete event.groups;
  announce(target, event);
};
