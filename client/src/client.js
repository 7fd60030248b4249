import { begin } from "./cursor.js";
import { uncover } from "./handover.js";
import { createLadder } from "./ladder.js";
import { extend, gather, hasten, leave, receive, reconnect, recover, STEADY, takeIn } from "./session.js";
import { createTabs } from "./tabs.js";
import { lost } from "./transports/ending.js";
import { createTransports } from "./transports/index.js";
import { peek } from "./upgrade.js";

/** @typedef {ReturnType<typeof control>} Client */

/**
 * Return the state of a client that has not been started.
 *
 * @param {import("./types.js").Options} options
 */
export const createSession = ({
  url,
  groups = [],
  position,
  target = document,
  tabs,
  most = 100,
  load,
  transports = createTransports(/** @type {any} */ (load)),
}) => {
  /** @type {import("./types.js").Session} */
  const session = {
    url,
    load: /** @type {any} */ (load),
    link: {
      url,
      target,
      tabs,
      say: (text) => session.inUse?.speak(text),
    },
    transports,
    target,
    most: /** @type {number} */ (most),
    wanted: new Set(groups),
    position: position || null,
    heard: new Map(),
    covered: new Set(),
    peers: createTabs(
      url,
      tabs,
      () => reconnect(session),
      (wish) => takeIn(session, wish),
      /** @type {any} */ (load),
    ),
    ladder: createLadder(Object.keys(transports)),
    received: receive,
    whenEnded: recover,
    stateName: "idle",
    grants: [],
    refusals: [],
    attempt: 0,
    probes: 0,
  };
  return session;
};

/**
 * Make a client, which receives the events of some groups: each once, in order, over whichever transport gets through.
 *
 * @param {import("./types.js").Options} options
 */
export const createClient = (options) => control(createSession(options));

/**
 * Return what sends a session's messages; the first call loads it.
 *
 * @param {import("./types.js").Session} session
 * @returns {Promise<import("./types.js").Sender>}
 */
export const sending = ({ link, load }) =>
  (link.sender ??= load("send").then(({ createSender }) => createSender(link)));

/**
 * Return the client of a session.
 *
 * @param {import("./types.js").Session} session
 */
export const control = (session) => {
  const { wanted, peers, target, transports } = session;

  /** @param {string} group */
  const isWanted = (group) => wanted.has(group);

  return {
    get state() {
      return session.stateName;
    },

    /** The name of the transport in use or being tried, else `null`. */
    get transport() {
      return session.inUse?.via ?? null;
    },

    /** This tab's role: the "leader" has the connection, a "follower" gets events from the leader; or "alone". */
    get role() {
      return peers.rank();
    },

    /** Everything up to here has been received; `null` before the first hello of a page without a position. */
    get position() {
      return session.position;
    },

    /** The groups that the server lets this client read. */
    get groups() {
      return session.grants.filter(isWanted);
    },

    /** The groups that the server refused. */
    get refused() {
      return session.refusals.filter(isWanted);
    },

    /**
     * Call a function with the data and the envelope of each event of a type, `"*"` for all; return its undo function.
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

    /**
     * Send a message to a group; return a promise of the server's answer. It goes out again until it is answered, and
     * takes effect once. If the server refuses it, the promise is rejected with an error that has a `code`.
     *
     * @param {[group: string, type: string, data?: unknown, options?: import("./types.js").SendOptions]} what
     */
    send: (...what) => sending(session).then((sender) => sender.send(...what)),

    /** The messages that are not answered yet. */
    get pending() {
      return session.link.pending ?? [];
    },

    /** Connect now, unless connected. */
    start() {
      if (session.inUse && session.stateName !== "denied") return;
      session.hedged = false;
      session.isStarted = true;
      peers.takePart();
    },

    /** Disconnect until `start()`. */
    stop: () => leave(session, "stopped"),

    /** Disconnect until `start()`, for a page that is put aside. Do nothing unless the client is started. */
    pause: () => session.isStarted && leave(session, "paused"),

    /**
     * Check at once whether the connection is alive, or connect at once unless the server asked for a wait. If the
     * network has `moved`, a recent sign of life proves nothing.
     *
     * @param {boolean} [moved]
     */
    wake(moved) {
      if (session.inUse) {
        session.inUse.lookOver();
        peers.lookOver();
        if (session.stateName === "open" && (moved || session.inUse.silence() > STEADY)) peek(session);
      } else hasten(session);
    },

    /** Drop the connection as a failing network would. */
    cut: () => session.inUse?.conclude(lost("cut")),

    /**
     * Use only one transport, or with `null` whichever gets through.
     *
     * @param {string | null} name
     */
    use(name) {
      const names = Object.keys(transports);
      const chosen = names.filter((each) => each === (name ?? each));
      if (!chosen[0]) {
        throw new TypeError(`No transport ${name}: expected null,${names}.`);
      }
      session.ladder = createLadder(chosen);
      session.attempt = 0;
      hasten(session);
    },

    /**
     * Subscribe to groups, from a position or from now on. If the position is lower than the client's own, what followed
     * it is told again to groups that were subscribed before: what asks may be a new body of the page. A group that was
     * refused is asked for again.
     *
     * @param {Iterable<string>} groups
     * @param {string | null} [since]
     */
    add(groups, since) {
      for (const group of groups) {
        begin(session, group, since, uncover(session, group) || !wanted.has(group));
        wanted.add(group);
      }
      extend(session);
    },

    /**
     * Unsubscribe from some groups.
     *
     * @param {Iterable<string>} groups
     */
    remove(groups) {
      for (const group of groups) wanted.delete(group);
      gather(session);
    },
  };
};
