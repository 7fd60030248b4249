/** @typedef {import("../types.js").Ending} Ending */

/** The longest that a server may send a client away, in milliseconds. */
const LONGEST = 300_000;

/**
 * Return how a connection ended that may come back.
 *
 * @param {unknown} reason
 * @param {number} [retry]  what the server asks for, in milliseconds
 * @returns {Ending}
 */
export const lost = (reason, retry = 0) => {
  return { kind: "lost", reason: `${reason}`, retry: retry > 0 ? Math.min(retry, LONGEST) : 0 };
};

/**
 * Return how a connection ended whose transport does not get through.
 *
 * @param {unknown} reason
 * @returns {Ending}
 */
export const blocked = (reason) => {
  return { ...lost(reason), kind: "next" };
};

/**
 * Return how a connection ended that the server refuses.
 *
 * @param {unknown} reason
 * @returns {Ending}
 */
export const denied = (reason) => {
  return { ...lost(reason), kind: "denied" };
};

/**
 * Return how a status or a close code, which is 4000 and a status, ends a connection.
 *
 * 204 stops an EventSource for good, and so it does here; 501 is a server that can't stream, 404 and 426 are those
 * of proxies and of sites that have not mounted the endpoint.
 *
 * @param {number} code
 * @param {number} [retry]  what the server asks for, in milliseconds
 */
export const refusal = (code, retry) => {
  const status = code % 4000;
  if ([204, 400, 401, 403].includes(status)) return denied(code);
  const busy = [408, 425, 429].includes(status) || (status >= 500 && status !== 501);
  return busy ? lost(code, retry) : blocked(code);
};
