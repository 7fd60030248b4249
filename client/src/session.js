/** @typedef {import("./connection.js").Connection} Connection */
/** @typedef {import("./types.js").Envelope} Envelope */
/** @typedef {import("./types.js").Ending} Ending */
/** @typedef {import("./types.js").Own} Own */
/** @typedef {import("./types.js").Session} Session */

import { cover, proceed } from "./cursor.js";
import { dispatch } from "./events.js";
import { allGroups, missing, prepare, replace, uncover, use } from "./handover.js";
import { detailOf, enter } from "./status.js";
import { take } from "./subscription.js";
import { lost } from "./transports/ending.js";
import { peek, seek } from "./upgrade.js";
import { HELLO, LEADER } from "./wire.js";

/** How long a connection may take to open before one poll fetches the events so far, in milliseconds. */
const SLOW = 600;
/** The shortest and the longest range, in milliseconds, of a random wait. */
const BASE = 500;
const LONGEST = 30_000;
/** A connection that was open for this long, in milliseconds, resets the count of failures before it. */
export const STEADY = 5000;
/** How long to collect requests for groups, in milliseconds. */
const GATHER = 20;

/** Drop the connections and the timers for new ones. @param {Session} session */
const disconnect = (session) => {
  clearTimeout(session.timer);
  clearTimeout(session.gathering);
  session.upcoming?.abandon();
  session.inUse?.abandon();
  session.upcoming = session.inUse = null;
};

/**
 * Disconnect, and let another tab lead.
 *
 * @param {Session} session
 * @param {import("./types.js").StateName} state
 */
export const leave = (session, state) => {
  disconnect(session);
  session.peers.leave();
  session.isStarted &&= state === "idle";
  enter(session, state);
};

/**
 * Connect anew, from the client's position, as soon as the server allows it.
 *
 * @param {Session} session
 * @returns {unknown}
 */
export const reconnect = (session) => {
  if (!allGroups(session).length || /** @type {any} */ (globalThis.document)?.prerendering)
    return leave(session, "idle");
  disconnect(session);
  const wait = session.notBefore - Date.now();
  if (!session.peers.follows() && wait > 0) return recover(session, lost("busy", wait), 0);
  const fresh = prepare(session);
  use(session, fresh);
  if (!session.hedged) session.timer = setTimeout(() => peek(session), SLOW);
  enter(session, "connecting");
  fresh.begin();
};

/** Connect anew if the client is to be connected. @param {Session} session */
export const hasten = (session) => {
  const isTrying = session.isStarted && session.stateName !== "idle" && session.stateName !== "denied";
  if (isTrying && !(session.notBefore > Date.now())) reconnect(session);
};

/**
 * Get the connection to bring all groups and what they have not heard, and no group that nobody wants any more: whoever
 * reads a group counts as present there.
 *
 * @param {Session} session
 * @returns {unknown}
 */
export const extend = (session) => {
  if (!session.isStarted) return;
  const { length } = allGroups(session);
  if (!length || session.stateName === "denied") return reconnect(session);
  if (session.stateName === "idle") return session.peers.takePart();
  if (!(missing(session).length || session.covered.size > length)) return;
  if (length > session.most) return session.peers.separate(); // with its own groups alone, if it leads others
  if (session.stateName === "open" && !session.peers.follows()) replace(session);
  else hasten(session);
};

/** Extend the connection soon. @param {Session} session */
export const gather = (session) => {
  clearTimeout(session.gathering);
  session.gathering = setTimeout(() => extend(session), GATHER);
};

/**
 * Go on after a connection has ended: over another transport, later, or not at all.
 *
 * @param {Session} session
 * @param {Ending} ending
 * @param {number} age
 * @param {any} [of]  the connection; none if the server allows no new one yet
 * @returns {unknown}
 */
export const recover = (session, { kind, reason, retry }, age, of) => {
  if (of === session.upcoming) {
    if (of.via === session.inUse?.via) return session.inUse?.conclude(lost(reason, retry));
    session.upcoming = null;
    return missing(session).length ? extend(session) : seek(session);
  }
  disconnect(session);
  // a tab may have asked for groups that this connection did not ask for
  if (kind === "denied") return missing(session).length ? reconnect(session) : enter(session, kind, { reason });
  if (age >= STEADY) session.attempt = 0;
  const isOffline = navigator.onLine === false; // without a network, no failure counts against a transport
  if (!session.peers.follows() && session.ladder.lost(isOffline ? "lost" : kind, isOffline || age >= 0)) {
    return reconnect(session);
  }
  session.notBefore = Date.now() + retry;
  // Try again after what the server asked for and a random share of a span that doubles.
  const wait = Math.round(retry + Math.min(BASE * 2 ** session.attempt++, LONGEST) * Math.random());
  session.timer = setTimeout(() => reconnect(session), wait);
  enter(session, isOffline ? "offline" : "waiting", { reason, retry: wait });
};

/**
 * Handle a connection's envelopes while it is the one in use. A listener may end that.
 *
 * @param {Session} session
 * @param {Envelope[]} envelopes
 * @param {Connection} from
 */
export const receive = (session, envelopes, from) => {
  if (envelopes[0]?.type === HELLO) {
    if (from === session.upcoming) {
      // a follower that has come meanwhile may have been told that the connection in use brings its groups
      if (!allGroups(session).every((group) => from.asks.groups.includes(group))) return replace(session);
      session.inUse?.abandon();
      session.upcoming = null;
      use(session, from);
    }
    if (from !== session.inUse) return;
    opened(session, /** @type {Own} */ (envelopes.shift())); // before the others: followers that wait hear them after it
  }
  session.peers.tell("events", envelopes);
  for (const envelope of envelopes) {
    if (from !== session.inUse) return;
    if (envelope.type.startsWith("livepush.")) heed[envelope.type]?.(session, /** @type {Own} */ (envelope));
    else take(session, envelope);
  }
};

/**
 * Forget everything, and go on from a position with all groups of the connection.
 *
 * @param {Session} session
 * @param {string} position
 */
const restart = (session, position) => {
  session.heard.clear();
  session.position = position;
  cover(session, /** @type {Connection} */ (session.inUse).asks.groups, position);
};

/**
 * @param {Session} session
 * @param {Own} hello
 */
const opened = (session, hello) => {
  const connection = /** @type {Connection} */ (session.inUse);
  if (!session.position) restart(session, hello.position);
  const gone = session.grants.filter((group) => hello.refused.includes(group));
  const isBack = (session.owed && !hello.failed) || hello.groups.some((group) => session.refusals.includes(group));
  session.owed = hello.failed && hello.position;
  session.grants = hello.groups;
  session.refusals = hello.refused;
  gather(session); // what was asked for since the connection was prepared
  session.notBefore = 0; // what the server asked for before is over: it has let this tab, or its leader, in
  if (session.peers.follows()) connection.via = hello.transport;
  else {
    session.ladder.worked(/** @type {string} */ (connection.via));
    seek(session);
  }
  enter(session, "open");
  if (isBack)
    session.peers.tell("lead"); // followers ask anew
  else greet(session);
  if (!gone[0]) return;
  receive(
    session,
    [{ type: "livepush.revoked", groups: gone, reason: "refused", failed: hello.failed }],
    connection,
  );
};

/** Handlers of livepush's own messages. @type {Record<string, (session: Session, own: Own) => void>} */
const heed = {
  "livepush.position": (session, { position }) => proceed(session, position),
  "livepush.reset"(session, { position, reason }) {
    restart(session, position);
    dispatch(session.target, "reset", { position, reason });
  },
  "livepush.revoked"(session, { groups, reason, failed }) {
    if (failed) session.owed ||= session.position; // a follower: the leader may ask again for the group
    const mine = groups.filter((group) => session.wanted.has(group));
    session.grants = session.grants.filter((group) => !groups.includes(group));
    session.refusals = [...new Set([...session.refusals, ...groups])];
    if (mine[0]) dispatch(session.target, "revoked", { groups: mine, reason });
    // session, logout, user: the browser may have another login by now, as after a password change
    if (/^(session|logout|user)$/.test(reason)) session.inUse?.conclude(lost(reason));
    else if (!session.grants.length) session.inUse?.conclude(lost(reason, 0, failed ? "lost" : "denied"));
  },
  "livepush.reply": (session, own) => session.link.onReply?.(own),
  [LEADER](session, { data }) {
    /** @type {Connection} */ (session.inUse).via = data.transport;
    enter(session, data.state, data);
  },
  "livepush.bye": (session, { reason, retry }) => session.inUse?.conclude(lost(reason, retry)),
};

/**
 * Handle a follower's request for groups; return true if there are too many groups.
 *
 * @param {Session} session
 * @param {import("./types.js").Request} wish
 */
export const takeIn = (session, { groups, since }) => {
  if (allGroups(session).length > session.most) return true;
  for (const group of groups) {
    uncover(session, group);
    if (!session.heard.has(group)) session.heard.set(group, since);
  }
  gather(session);
  if (session.stateName === "open") greet(session);
  else session.peers.tell("state", detailOf(session));
};

/** Tell the followers whose groups the connection brings. @param {Session} session */
const greet = (session) => {
  session.peers.welcome(session.covered, {
    .../** @type {any} */ (detailOf(session)),
    granted: session.grants,
    refused: session.refusals,
    failed: session.owed,
  });
};
