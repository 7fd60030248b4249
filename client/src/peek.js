/** @typedef {import("./types.js").Session} Session */

import { GRACE } from "./connection.js";
import { lost } from "./transports/ending.js";

/** How long one poll does for all who want it, in milliseconds: many may have waited for this script. */
const AT_ONCE = 100;

/** When a poll was made. */
let polled = 0;

/** The request of the connection that it was made for. @type {unknown} */
let owing;

/** Fetch, with one poll, the events that a slow or silent connection may owe. @param {Session} session */
export const peek = (session) => {
  const slow = session.inUse;
  const since = session.position;
  const { poll } = session.transports;
  if (!poll || !slow || !since || session.peers.follows() || Date.now() < session.notBefore) return;
  if (owing === slow.asks && Date.now() - polled < AT_ONCE) return;
  polled = Date.now();
  owing = slow.asks;
  session.hedged = true;
  const close = poll(
    { ...slow.asks, since },
    (envelopes) => {
      close();
      if (slow !== session.inUse || envelopes[0]?.failed || envelopes[1]?.type === "livepush.reset") return;
      const before = session.position;
      session.received(session, envelopes.slice(1, -1), slow); // no hello, no position: only events raise doubt
      if (session.position === before || session.stateName !== "open") return;
      setTimeout(() => slow.silence() >= GRACE && slow.conclude(lost("stalled")), GRACE);
    },
    (ending) => {
      session.notBefore = Date.now() + ending.retry;
    },
  );
};
