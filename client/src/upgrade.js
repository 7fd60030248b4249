/** @typedef {import("./types.js").Session} Session */

import { replace } from "./handover.js";

/** The delays before a better transport is tried, in milliseconds: the first, the first if blocked, and the longest. */
const SOON = 3000;
const LATER = 30_000;
const LATEST = 600_000;

/** Try a better transport now and then. @param {Session} session */
export const seek = (session) => {
  clearTimeout(session.timer);
  const better = session.ladder.better();
  if (!better) {
    session.probes = 0;
    return;
  }
  session.timer = setTimeout(
    () => replace(session, session.probes++ % better),
    Math.min((session.ladder.blocked() ? LATER : SOON) * 2 ** session.probes, LATEST),
  );
};

/** Load `peek.js`, and have it fetch what a slow or silent connection may owe. @param {Session} session */
export const peek = async (session) => (await session.load("fallback")).peek(session);
