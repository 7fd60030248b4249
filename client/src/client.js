import { createCursor } from "./cursor.js";
import { isMissing } from "./handover.js";
import { createLadder } from "./ladder.js";
import { extend, leave, receive, reconnect, recover, STEADY, takeIn } from "./session.js";
import { isActive, mirror, transportOf } from "./status.js";
import { createTabs } from "./tabs.js";
import { lost } from "./transports/ending.js";
import { TRANSPORTS } from "./transports/index.js";
import { peek } from "./upgrade.js";

/** @typedef {ReturnType<typeof createClient>} Client */

/**
 * Make a client, which receives the events of some groups: each once, in order, over whichever transport gets through.
 *
 * @param {import("./types.js").Options} options
 */
export function createClient({
  url,
  groups = [],
  position,
  target = document,
  tabs: shared,
  most = 100,
  transports = TRANSPORTS,
}) {
  /** @type {import("./types.js").Session} */
  const session = {
    url,
    transports,
    target,
    wanted: new Set(groups),
    cursor: createCursor(position || null),
    tabs: createTabs(
      url,
      shared,
      () => reconnect(session),
      (since) => takeIn(session, since),
      (leader) => mirror(session, leader),
    ),
    ladder: createLadder(Object.keys(transports)),
    received: (envelopes, from) => receive(session, envelopes, from),
    ended: (ending, age, of) => recover(session, ending, age, of),
    most: /** @type {number} */ (most),
    stateName: "idle",
    grants: [],
    refusals: [],
    covered: [],
    gathered: null,
    attempt: 0,
    probes: 0,
  };
  const { wanted, cursor, tabs } = session;

  /** @param {string} group */
  const isWanted = (group) => wanted.has(group);

  return {
    get state() {
      return session.stateName;
    },

    /** The name of the transport in use or being tried, else `null`. */
    get transport() {
      return transportOf(session);
    },

    /** What this tab is to the others: "leader" has the connection, a "follower" gets its events from it; or "alone". */
    get role() {
      return tabs.rank();
    },

    /** Everything up to here has been received; `null` before the first hello of a page without a position. */
    get position() {
      return cursor.position;
    },

    /** The groups that the server lets this client read. */
    get groups() {
      return session.grants.filter(isWanted);
    },

    /** The groups that it was asked for and refused. */
    get refused() {
      return session.refusals.filter(isWanted);
    },

    /**
     * Call a function with the data and the envelope of each event of a type, `"*"` for all; return what ends it.
     *
     * @param {string} type
     * @param {(data: any, envelope: any) => void} listener
     */
    on(type, listener) {
      const name = type === "*" ? "livepush:event" : `livepush:event:${type}`;
      /** @param {any} event */
      const hear = ({ detail }) => listener(detail.data, detail);
      target.addEventListener(name, hear);
      return () => target.removeEventListener(name, hear);
    },

    /** Connect now, unless connected. */
    start() {
      if (session.inUse && session.stateName !== "denied") return;
      session.hedged = false;
      if (wanted.size) tabs.takePart();
      reconnect(session);
    },

    /** Disconnect until `start()`. */
    stop: () => leave(session, "stopped"),

    /** Disconnect until `start()`, as a page does that is put aside; nothing where there is nothing to disconnect. */
    pause: () => (isActive(session) || session.stateName === "denied") && leave(session, "paused"),

    /**
     * Look at once whether the connection lives, or try at once to have one. Where the network has `moved`, silence is
     * no sign of life.
     *
     * @param {boolean} [moved]
     */
    wake(moved) {
      const { inUse } = session;
      if (inUse) {
        inUse.lookOver();
        tabs.lookOver();
        if (session.stateName === "open" && (moved || inUse.silence() > STEADY)) peek(session);
      } else if (isActive(session)) reconnect(session);
    },

    /** Drop the connection as a failing network would. */
    cut: () => session.inUse?.conclude(lost("cut")),

    /**
     * Use one transport alone, or with `null` whichever gets through.
     *
     * @param {string | null} name
     */
    use(name) {
      const names = Object.keys(transports);
      const chosen = names.filter((each) => name === null || each === name);
      if (!chosen.length) {
        throw new TypeError(`There is no transport "${name}": expected ${names.join(", ")} or null.`);
      }
      session.ladder = createLadder(chosen);
      session.attempt = 0;
      if (isActive(session)) reconnect(session);
    },

    /**
     * Subscribe to further groups, from a position if that is lower than the client's own. Those there are hear
     * nothing twice.
     *
     * @param {Iterable<string>} groups
     * @param {string | null} [since]
     */
    add(groups, since) {
      for (const group of groups) wanted.add(group);
      if (session.stateName === "idle" || isMissing(session)) extend(session, since);
    },

    /**
     * Hear nothing more of some groups.
     *
     * @param {Iterable<string>} groups
     */
    remove(groups) {
      for (const group of groups) wanted.delete(group);
    },
  };
}
