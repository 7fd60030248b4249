/** @typedef {import("./connection.js").Connection} Connection */
/** @typedef {import("./types.js").Envelope} Envelope */
/** @typedef {import("./types.js").Ending} Ending */
/** @typedef {import("./types.js").Own} Own */
/** @typedef {import("./types.js").Session} Session */

import { dispatch } from "./events.js";
import { allGroups, cover, drop, isMissing, owe, prepare, replace, takeOver } from "./handover.js";
import { detailOf, enter, isActive } from "./status.js";
import { admit, revoke, take } from "./subscription.js";
import { lost } from "./transports/ending.js";
import { hedge, seek } from "./upgrade.js";
import { HELLO } from "./wire.js";

/** The shortest and the longest range, in milliseconds, of a random wait. */
const BASE = 500;
const LONGEST = 30_000;
/** A connection that was open for this long, in milliseconds, resets the count of failures before it. */
export const STEADY = 5000;
/** How long to collect requests of further tabs for groups, in milliseconds. */
const GATHER = 20;

/** Drop the connections and the timers for new ones. @param {Session} session */
const disconnect = (session) => {
  clearTimeout(session.timer);
  clearTimeout(session.gathering);
  drop(session);
};

/**
 * Disconnect, and let another tab lead.
 *
 * @param {Session} session
 * @param {import("./types.js").StateName} state
 */
export const leave = (session, state) => {
  disconnect(session);
  session.tabs.leave();
  enter(session, state);
};

/**
 * @param {Session} session
 * @param {string} reason
 */
const deny = (session, reason) => {
  disconnect(session);
  enter(session, "denied", { reason });
};

/** Connect anew, from the client's position. @param {Session} session */
export const reconnect = (session) => {
  if (!allGroups(session).length) return leave(session, "idle");
  disconnect(session);
  const fresh = prepare(session, session.ladder.name(), session.cursor.position);
  session.inUse = fresh;
  cover(session, fresh);
  hedge(session);
  enter(session, "connecting");
  fresh.begin();
};

/** Extend the connection to further groups, and to the events that groups are owed. @param {Session} session */
export const extend = (session) => {
  if (session.stateName === "open" && !session.tabs.follows()) return replace(session, session.ladder.name());
  if (isActive(session) || session.stateName === "denied") reconnect(session);
};

/**
 * Go on after a connection has ended: over another transport, later, or not at all.
 *
 * @param {Session} session
 * @param {Ending} ending
 * @param {number} age
 * @param {Connection} of
 */
export const recover = (session, { kind, reason, retry }, age, of) => {
  if (of === session.upcoming) {
    const { inUse } = session;
    if (of.via === inUse?.via) return inUse.conclude(lost(reason, retry));
    session.upcoming = null;
    return isMissing(session) || session.owed.size ? extend(session) : seek(session);
  }
  if (kind === "denied") return deny(session, reason);
  disconnect(session);
  if (age >= STEADY) session.attempt = 0;
  const { onLine } = navigator; // without a network, no failure counts against a transport
  if (!session.tabs.follows() && session.ladder.failed(onLine ? kind : "lost", age >= 0 || !onLine)) {
    return reconnect(session);
  }
  // Try again after what the server asked for and a random share of a span that doubles.
  const wait = Math.round(retry + Math.min(BASE * 2 ** session.attempt++, LONGEST) * Math.random());
  session.timer = setTimeout(() => reconnect(session), wait);
  enter(session, onLine ? "waiting" : "offline", { reason, retry: wait });
};

/**
 * Handle a connection's envelopes while it is the one in use. A listener may end that.
 *
 * @param {Session} session
 * @param {Envelope[]} envelopes
 * @param {Connection} from
 */
export const receive = (session, envelopes, from) => {
  let rest = envelopes;
  if (envelopes[0]?.type === HELLO) {
    if (from === session.upcoming) takeOver(session, from);
    if (from !== session.inUse) return;
    opened(session, /** @type {Own} */ (envelopes[0])); // before the others: followers that wait hear them after it
    rest = envelopes.slice(1);
  }
  session.tabs.tell(
    "events",
    rest.filter(({ type }) => type !== "livepush.bye"),
  );
  for (const envelope of rest) {
    if (from !== session.inUse) return;
    if (envelope.type.startsWith("livepush.")) heed[envelope.type]?.(session, /** @type {Own} */ (envelope));
    else take(session, envelope);
  }
};

/**
 * @param {Session} session
 * @param {Own} hello
 */
const opened = (session, hello) => {
  if (!session.cursor.position) session.cursor.jumpTo(hello.position);
  const gone = admit(session, hello);
  if (session.tabs.follows()) session.mirrored = hello.transport;
  else {
    session.ladder.worked(/** @type {Connection} */ (session.inUse).via);
    seek(session);
  }
  enter(session, "open");
  greet(session);
  if (!gone.length) return;
  receive(session, [{ type: "livepush.revoked", groups: gone }], /** @type {Connection} */ (session.inUse));
};

/** Handlers of livepush's own messages. @type {Record<string, (session: Session, own: Own) => void>} */
const heed = {
  "livepush.position": (session, { position }) => session.cursor.proceed(position),
  "livepush.reset"(session, { position, reason }) {
    session.cursor.jumpTo(position);
    session.owed.clear(); // what was owed is lost too
    dispatch(session.target, "reset", { position, reason });
  },
  "livepush.revoked"(session, { groups }) {
    revoke(session, groups);
    if (!session.grants.length && session.inUse) deny(session, "revoked");
  },
  "livepush.bye": (session, { reason, retry }) => session.inUse?.conclude(lost(`bye ${reason}`, retry)),
};

/**
 * Handle a follower's request for groups; return true if there are too many groups.
 *
 * @param {Session} session
 * @param {import("./types.js").Request} wish
 */
export const takeIn = (session, { groups, since }) => {
  if (allGroups(session).length > session.most) return true;
  const missing = isMissing(session);
  if (session.stateName === "open" && !missing) return greet(session);
  if (session.stateName === "denied") reconnect(session);
  else if (missing) {
    for (const group of groups) if (since && !session.covered.includes(group)) owe(session, group, since);
    clearTimeout(session.gathering);
    session.gathering = setTimeout(() => (isMissing(session) || session.owed.size) && extend(session), GATHER);
  }
  session.tabs.tell("state", detailOf(session));
};

/** Tell the followers whose groups the connection brings. @param {Session} session */
const greet = (session) => {
  const hello = { ...detailOf(session), granted: session.grants, refused: session.refusals };
  session.tabs.welcome(session.covered, /** @type {import("./types.js").Welcome} */ (hello));
};
