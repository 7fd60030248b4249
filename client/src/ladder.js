/** How often a transport that never opened may fail before the next one is tried. */
const PATIENCE = 2;
/** How long a tab goes on with a lower transport that worked, over page loads, in milliseconds. */
const REMEMBER = 600_000;

/** @typedef {ReturnType<typeof createLadder>} Ladder */

/**
 * Make what knows which transport is next, of those that may be used, in order of preference.
 *
 * @param {string[]} names  at least one
 */
export const createLadder = (names) => {
  let at = 0;
  let failures = 0;
  /** The most preferred that worked; an outage leads back to it. */
  let home = names.length;
  /** Whether the most preferred one did not get through though the server was there. */
  let blocked = false;
  /** Those that worked: no failure counts against them. */
  const proven = new Set();

  try {
    const [name, until] = JSON.parse(sessionStorage.livepush);
    if (until > Date.now() && names.includes(name)) at = names.indexOf(name);
  } catch {} // no storage here, nothing in it, or another's

  /** Where the round began. */
  let first = at;

  /** Go on to the next transport; return false when all have been tried in vain. */
  const step = () => {
    at = (at + 1) % names.length;
    failures = 0;
    return at !== first;
  };

  return {
    name: () => /** @type {string} */ (names[at]),

    /** How many are before the one in use. */
    better: () => at,

    /** Whether the most preferred one was seen not to get through, apart from all outages. */
    blocked: () => blocked,

    /**
     * Note that a transport works.
     *
     * @param {string} name
     */
    worked(name) {
      at = first = names.indexOf(name);
      proven.add(name);
      home = Math.min(home, at);
      blocked &&= at > 0;
      try {
        if (blocked || !at) sessionStorage.livepush = JSON.stringify([name, Date.now() + REMEMBER]);
      } catch {}
    },

    /**
     * Note that a connection has ended; return whether the next attempt may be made at once.
     *
     * @param {import("./types.js").Kind} kind
     * @param {boolean} excused  whether it had been open, or no transport could have been
     */
    failed(kind, excused) {
      if (kind === "next") {
        blocked ||= !at;
        return step();
      }
      if (excused) at = first = Math.min(home, at);
      else if (++failures >= PATIENCE && !proven.has(names[at])) step();
    },
  };
};
