/**
 * The events that a client has received.
 *
 * @typedef {object} Cursor
 * @property {Set<string>} wanted  the groups that this tab's page wants
 * @property {string | null} position  where the connection is: it has brought all events up to here
 * @property {Map<string, string | null>} heard  the position of each group's last event, or else where the group begins:
 *   only later events are news to it
 * @property {Set<string>} covered  the groups that the connection brings. Another group has had its events up to where it
 *   was heard, and gets later ones from the next connection.
 */

import { isAfter, lower } from "./position.js";

/**
 * Move on to a position, unless the cursor is there or further on.
 *
 * @param {Cursor} cursor
 * @param {string} to
 */
export const proceed = (cursor, to) => {
  if (isAfter(to, cursor.position)) cursor.position = to;
};

/**
 * Move on to an event, and return those of its groups to which it is news. One without a position is news to all.
 *
 * @param {Cursor} cursor
 * @param {string | undefined} id
 * @param {string[]} groups
 */
export const news = (cursor, id, groups) => {
  if (!id) return groups;
  proceed(cursor, id);
  return groups.filter(
    (group) => cursor.covered.has(group) && isAfter(id, cursor.heard.get(group)) && cursor.heard.set(group, id),
  );
};

/**
 * Note that a connection brings some groups the events after a position.
 *
 * @param {Cursor} cursor
 * @param {string[]} groups
 * @param {string | null} since
 */
export const cover = (cursor, groups, since) => {
  cursor.heard = new Map(
    [...cursor.wanted, ...groups].map((group) => [group, cursor.heard.get(group) ?? cursor.position]),
  );
  cursor.covered = new Set(groups);
  cursor.position = since;
};

/**
 * Have a group begin after a position: a new one there or, without one, at the cursor; one that is not new no later than
 * before. The group needs another connection if the cursor may have passed some of its events.
 *
 * @param {Cursor} cursor
 * @param {string} group
 * @param {string | null | undefined} since
 * @param {boolean} isNew
 */
export const begin = (cursor, group, since, isNew) => {
  const had = cursor.heard.get(group);
  if (since) {
    if (isAfter(had, since) && isAfter(cursor.position, since)) cursor.covered.delete(group);
    cursor.heard.set(group, isNew ? since : lower(since, had));
  } else if (isNew && isAfter(cursor.position, had)) cursor.heard.set(group, cursor.position);
};
