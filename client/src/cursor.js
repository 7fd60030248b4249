import { compare, lower } from "./position.js";

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
     * Say whether an event is news for some groups, and move on to it. One without a position is always news.
     *
     * @param {string | undefined} id
     * @param {string[]} groups
     */
    isNews(id, groups) {
      return !id || (proceed(id) && !groups.some((group) => compare(id, had.get(group) ?? "") <= 0));
    },

    /**
     * Forget everything and go on from a position.
     *
     * @param {string} to
     */
    jumpTo(to) {
      position = to;
      had.clear();
    },

    /**
     * Go back to a position if it is lower, for groups that come in.
     *
     * @param {string | null | undefined} to
     * @param {string[]} [groups]  the groups that have had everything up to the current position
     */
    rewind(to, groups = []) {
      const from = position;
      position = lower(from, to);
      if (!from || from === position) return;
      for (const group of groups) {
        if (!(compare(had.get(group) ?? from, from) > 0)) had.set(group, from);
      }
    },
  };
};
