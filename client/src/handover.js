/** @typedef {import("./connection.js").Connection} Connection */
/** @typedef {import("./types.js").Session} Session */
/** @typedef {import("./types.js").Transport} Transport */

import { connect } from "./connection.js";
import { cover } from "./cursor.js";
import { lower } from "./position.js";

/** Return the groups of this tab and of its followers. @param {Session} session */
export const allGroups = (session) => [...new Set([...session.wanted, ...session.peers.followersGroups()])];

/**
 * Have a group asked for again that was refused beside others: it may be granted by now, and the position has passed it.
 * Where all were refused, the position stood still. Return whether the group was such a one.
 *
 * @param {Session} session
 * @param {string} group
 */
export const uncover = (session, group) =>
  session.stateName !== "denied" && session.refusals.includes(group) && session.covered.delete(group);

/** Return those of them that the connection lacks. @param {Session} session */
export const missing = (session) => allGroups(session).filter((group) => !session.covered.has(group));

/**
 * Prepare a connection that brings all groups what they have not heard.
 *
 * @param {Session} session
 * @param {number} [index]  the transport's place in the ladder
 */
export const prepare = (session, index) => {
  const name = session.ladder.name(index);
  const transport = session.peers.follows() ? session.peers.follow : session.transports[name];
  const since = missing(session).reduce(
    (since, group) => lower(since, session.heard.get(group)),
    lower(session.position, session.owed),
  );
  const request = { url: session.url, groups: allGroups(session), since };
  return connect(session, name, /** @type {Transport} */ (transport), request);
};

/**
 * Use a connection from now on.
 *
 * @param {Session} session
 * @param {Connection} connection
 */
export const use = (session, connection) => {
  session.inUse = connection;
  cover(session, connection.asks.groups, connection.asks.since);
};

/**
 * Open a second connection, which replaces the one in use without a gap.
 *
 * @param {Session} session
 * @param {number} [index]  its transport's place in the ladder
 */
export const replace = (session, index) => {
  session.upcoming?.abandon();
  session.upcoming = prepare(session, index);
  session.upcoming.begin();
};
