/** @typedef {import("./types.js").Session} Session */
/** @typedef {import("./types.js").Transport} Transport */

import { connect } from "./connection.js";
import { lower } from "./position.js";

/** The groups of this tab, and of those that follow it. @param {Session} session */
export const allGroups = ({ wanted, tabs }) => [...new Set([...wanted, ...tabs.groups()])];

/** Whether there are groups that the connection does not bring. @param {Session} session */
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
 * Open a connection beside the one in use, which takes its place without a gap.
 *
 * @param {Session} session
 * @param {string} name  of its transport
 * @param {string | null} [since]  from where it is to read, if that is lower than the client's own position
 */
export const replace = (session, name, since) => {
  const { upcoming } = session;
  upcoming?.abandon();
  const next = prepare(session, name, lower(lower(session.cursor.position, since), upcoming?.asks.since));
  session.upcoming = next;
  next.begin();
};

/**
 * Use the upcoming connection, which is open.
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
  // What the upcoming one was to read is still to be read.
  if (isMissing(session)) session.cursor.rewind(upcoming?.asks.since, session.covered);
  upcoming?.abandon();
  session.inUse?.abandon();
  session.upcoming = session.inUse = null;
};
