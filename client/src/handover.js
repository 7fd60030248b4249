/** @typedef {import("./types.js").Session} Session */
/** @typedef {import("./types.js").Transport} Transport */

import { connect } from "./connection.js";
import { lower } from "./position.js";

/** Return the groups of this tab and of its followers. @param {Session} session */
export const allGroups = ({ wanted, tabs }) => [...new Set([...wanted, ...tabs.groups()])];

/** Return whether the connection lacks some of the groups. @param {Session} session */
export const isMissing = (session) => !allGroups(session).every((group) => session.covered.includes(group));

/**
 * Prepare a connection that brings all groups.
 *
 * @param {Session} session
 * @param {string} name  of its transport
 * @param {string | null} since
 */
export const prepare = (session, name, since) => {
  const transport = session.tabs.follows() ? session.tabs.follow : session.transports[name];
  const request = { url: session.url, groups: allGroups(session), since };
  return connect(name, /** @type {Transport} */ (transport), request, session.received, session.ended);
};

/**
 * Open a second connection, which replaces the one in use without a gap.
 *
 * @param {Session} session
 * @param {string} name  of its transport
 * @param {string | null} [since]  the position to read from, if it is lower than the client's own
 */
export const replace = (session, name, since) => {
  const { upcoming } = session;
  upcoming?.abandon();
  const next = prepare(session, name, lower(lower(session.cursor.position, since), upcoming?.asks.since));
  session.upcoming = next;
  next.begin();
};

/**
 * Switch to the upcoming connection, which has opened.
 *
 * @param {Session} session
 * @param {import("./connection.js").Connection} opened
 */
export const takeOver = (session, opened) => {
  session.inUse?.abandon();
  session.inUse = opened;
  session.upcoming = null;
  session.cursor.rewind(opened.asks.since, session.covered);
  session.covered = opened.asks.groups;
};

/** Abandon both connections. @param {Session} session */
export const drop = (session) => {
  const { upcoming } = session;
  // The events that the upcoming connection was to read are still to be read.
  if (isMissing(session)) session.cursor.rewind(upcoming?.asks.since, session.covered);
  upcoming?.abandon();
  session.inUse?.abandon();
  session.upcoming = session.inUse = null;
};
