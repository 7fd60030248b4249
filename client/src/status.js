/** @typedef {import("./types.js").Session} Session */
/** @typedef {import("./types.js").StateName} StateName */

import { dispatch } from "./events.js";
import { allGroups } from "./handover.js";

/** Return what events tell of the state. @param {Session} session */
export const detailOf = (session) => ({
  state: session.stateName,
  transport: session.inUse?.via ?? null,
  position: session.position,
});

/**
 * Enter a state, and tell the page and the tabs that follow this one. A refusal with status 401 or 403 takes all groups
 * away.
 *
 * @param {Session} session
 * @param {StateName} state
 * @param {{reason?: string, retry?: number}} [more]
 */
export const enter = (session, state, more) => {
  const isRefused = state === "denied" && /40[13]/.test(/** @type {any} */ (more).reason);
  const mine = session.grants.filter((group) => session.wanted.has(group));
  if (isRefused) {
    session.grants = [];
    session.refusals = allGroups(session);
  }
  session.stateName = state;
  const detail = { ...more, ...detailOf(session) };
  session.peers.tell("state", detail);
  const text = JSON.stringify(detail);
  if (text !== session.shown) dispatch(session.target, "state", detail);
  session.shown = text;
  if (isRefused && mine[0]) dispatch(session.target, "revoked", { groups: mine, reason: "refused" });
};
