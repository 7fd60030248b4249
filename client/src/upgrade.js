/** @typedef {import("./types.js").Session} Session */

import { replace } from "./handover.js";

/** How long a connection may take to open before one poll fetches the events so far, in milliseconds. */
const SLOW = 600;
/** The delays before a better transport is tried, in milliseconds: the first, the first if blocked, and the longest. */
const SOON = 3000;
const LATER = 30_000;
const LATEST = 600_000;

/** Fetch, with one poll, the events that a slow or silent connection may owe. @param {Session} session */
export const peek = (session) => {
  const slow = session.inUse;
  const since = session.cursor.position;
  const { poll } = session.transports;
  if (!poll || !slow || !since || session.tabs.follows()) return;
  session.hedged = true;
  const close = poll(
    { ...slow.asks, since },
    (envelopes) => {
      close();
      if (slow !== session.inUse || envelopes[1]?.type === "livepush.reset") return;
      const before = session.cursor.position;
      session.received(envelopes.slice(1, -1), slow); // no hello, no position: only events raise doubt
      if (session.cursor.position !== before && session.stateName === "open") slow.doubt();
    },
    () => {},
  );
};

/** Peek, once since the client was started, if the connection is not open soon. @param {Session} session */
export const hedge = (session) => {
  if (!session.hedged) session.timer = setTimeout(() => peek(session), SLOW);
};

/** Try a better transport now and then. @param {Session} session */
export const seek = (session) => {
  clearTimeout(session.timer);
  const better = session.ladder.better();
  if (!better) {
    session.probes = 0;
    return;
  }
  session.timer = setTimeout(
    () => replace(session, /** @type {string} */ (Object.keys(session.transports)[session.probes++ % better])),
    Math.min((session.ladder.blocked() ? LATER : SOON) * 2 ** session.probes, LATEST),
  );
};
