/** @typedef {import("./types.js").Session} Session */
/** @typedef {import("./types.js").Transport} Transport */

import { connect } from "./connection.js";
import { lower, lowest } from "./position.js";

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
 */
export const replace = (session, name) => {
  session.upcoming?.abandon();
  session.upcoming = prepare(session, name, lowest(session.cursor.position, session.owed));
  session.upcoming.begin();
};

/**
 * Note that a group is to be told everything after a position.
 *
 * @param {Session} session
 * @param {string} group
 * @param {string} since
 */
export const owe = ({ owed }, group, since) => {
  owed.set(group, lower(since, owed.get(group)));
};

/** Go back to where groups are owed events from: all of them are read now. @param {Session} session */
const goBack = ({ cursor, owed, covered }) => {
  if (owed.size) cursor.rewind(owed, covered);
  owed.clear();
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
  goBack(session);
  cover(session, opened);
};

/**
 * Note that a connection brings its groups from the cursor on.
 *
 * @param {Session} session
 * @param {import("./connection.js").Connection} connection
 */
export const cover = (session, { asks }) => {
  session.cursor.cover(asks.groups, session.covered);
  session.covered = asks.groups;
};

/** Abandon both connections. @param {Session} session */
export const drop = (session) => {
  const begun = [...session.owed.keys()];
  goBack(session); // what the upcoming connection was to read is still to be read
  session.covered = [...new Set([...session.covered, ...begun])];
  session.upcoming?.abandon();
  session.inUse?.abandon();
  session.upcoming = session.inUse = null;
};
