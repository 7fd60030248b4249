/** @typedef {import("./types.js").Envelope} Envelope */
/** @typedef {import("./types.js").Own} Own */
/** @typedef {import("./types.js").Session} Session */

import { announce, dispatch } from "./events.js";

/**
 * Take in what a hello grants; return which groups were granted before and are no longer.
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
 * Take in which groups may not be read any more.
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
 * Tell the page of an event, with those of its groups alone that this tab wants: others may be a follower's.
 *
 * @param {Session} session
 * @param {Envelope} event
 */
export const take = ({ wanted, cursor, target }, event) => {
  const groups = event.groups ?? [event.group];
  const mine = [...wanted].filter((group) => groups.includes(group));
  const [first, second] = mine;
  if (!cursor.isNews(event.id, mine) || !first) return;
  event.group = first;
  if (second) event.groups = mine;
  else delete event.groups;
  announce(target, event);
};
