import { compare, lowest } from "./position.js";

/** @typedef {ReturnType<typeof createCursor>} Cursor */

/**
 * Return a cursor: the position up to which the client has received the events of all its groups.
 *
 * @param {string | null} position
 */
export const createCursor = (position) => {
  /**
   * The positions up to which some groups have had their events, although the cursor went back before them.
   *
   * @type {Map<string, string>}
   */
  const had = new Map();
  /**
   * The position of each group's last event, or else from where on the group is covered; none if that is unknown.
   *
   * @type {Map<string, string | null | undefined>}
   */
  let last = new Map();

  /**
   * Move on to a position; return false if it is not higher.
   *
   * @param {string} to
   */
  const proceed = (to) => {
    if (compare(to, position ?? "") <= 0) return false;
    position = to;
    return true;
  };

  return {
    get position() {
      return position;
    },

    proceed,

    /**
     * Move on to an event, and return the groups to which it is news. One without a position is news to all.
     *
     * @param {string | undefined} id
     * @param {string[]} wanted  of the event's groups those that are wanted
     * @param {string[]} groups  all its groups
     */
    news(id, wanted, groups) {
      if (!id) return wanted;
      if (!proceed(id)) return [];
      for (const group of groups) last.set(group, id);
      return wanted.filter((group) => !(compare(id, had.get(group) ?? "") <= 0));
    },

    /**
     * Note that some groups are covered from the current position on; those that were covered before stay so.
     *
     * @param {string[]} groups
     * @param {string[]} before
     */
    cover(groups, before) {
      last = new Map(groups.map((group) => [group, before.includes(group) ? last.get(group) : position]));
    },

    /**
     * Return whether an event of a group may have passed after a position.
     *
     * @param {string} group
     * @param {string} since
     */
    hasPassed: (group, since) =>
      !(compare(position ?? "", since) <= 0) && !(compare(last.get(group) ?? "", since) <= 0),

    /**
     * Forget everything and go on from a position.
     *
     * @param {string} to
     */
    jumpTo(to) {
      position = to;
      had.clear();
      last.clear();
    },

    /**
     * Have a group begin at a position that is still to come. One that is not new begins at no higher one than before.
     *
     * @param {string} group
     * @param {string} since
     * @param {boolean} isNew
     */
    begin(group, since, isNew) {
      if (isNew || compare(since, had.get(group) ?? "") < 0) had.set(group, since);
    },

    /**
     * Go back to the lowest position from which groups are owed their events.
     *
     * @param {Map<string, string>} owed  groups, each with the position after which everything is news to it
     * @param {string[]} covered  the groups that have had everything up to the current position
     */
    rewind(owed, covered) {
      const from = position ?? "";
      position = lowest(position, owed);
      for (const group of covered) {
        if (!(compare(had.get(group) ?? "", from) > 0)) had.set(group, from);
      }
      for (const [group, since] of owed) had.set(group, since);
      for (const [group, upto] of had) {
        if (compare(upto, position ?? "") <= 0) had.delete(group);
      }
    },
  };
};
