/** How often a transport that never opened may fail before the next one is tried. */
const PATIENCE = 2;
/** How long a tab remembers a less preferred transport that worked, across page loads, in milliseconds. */
const REMEMBER = 600_000;

/** @typedef {ReturnType<typeof createLadder>} Ladder */

/**
 * Return an object that chooses the next transport, from a list in order of preference.
 *
 * @param {string[]} names  at least one
 */
export const createLadder = (names) => {
  let at = 0;
  let failures = 0;
  /** The most preferred transport that worked; after an outage, the client goes back to it. */
  let home = names.length;
  /** Whether the most preferred transport did not get through although the server was reachable. */
  let blocked = false;
  /** The transports that worked: no failure counts against them. */
  const proven = new Set();

  try {
    const [name, until] = JSON.parse(sessionStorage.livepush);
    if (until > Date.now() && names.includes(name)) at = names.indexOf(name);
  } catch {} // no storage, no entry, or an entry of other code

  /** The transport with which this round began. */
  let first = at;

  /** Go on to the next transport; return false if all of them have failed. */
  const step = () => {
    at = (at + 1) % names.length;
    failures = 0;
    return at !== first;
  };

  return {
    /** The name of a transport: of the one in use unless another one is asked for. */
    name: (index = at) => /** @type {string} */ (names[index]),

    /** How many transports are preferred to the one in use. */
    better: () => at,

    /** Whether the most preferred transport does not get through, outages aside. */
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
     * @param {boolean} excused  whether it had been open, or no transport could have opened
     */
    lost(kind, excused) {
      if (kind === "next") {
        blocked ||= !at;
        return step();
      }
      if (excused) at = first = Math.min(home, at);
      else if (++failures >= PATIENCE && !proven.has(names[at])) step();
    },
  };
};
