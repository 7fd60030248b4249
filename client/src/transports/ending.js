/** @typedef {import("../types.js").Ending} Ending */

/** The longest time for which a server may tell a client not to reconnect, in milliseconds. */
const LONGEST = 300_000;

/**
 * Return the ending of a connection that the client may open again.
 *
 * @param {unknown} reason
 * @param {any} [retry]  what the server asks for, in milliseconds
 * @param {import("../types.js").Kind} [kind]
 * @returns {Ending}
 */
export const lost = (reason, retry, kind = "lost") => {
  return { kind, reason: `${reason}`, retry: retry > 0 ? Math.min(retry, LONGEST) : 0 };
};

/**
 * Return the ending of a connection whose transport does not get through.
 *
 * @param {unknown} reason
 * @returns {Ending}
 */
export const blocked = (reason) => {
  return lost(reason, 0, "next");
};

/**
 * Return the ending of a connection that the server refuses.
 *
 * @param {unknown} reason
 * @returns {Ending}
 */
export const denied = (reason) => {
  return lost(reason, 0, "denied");
};

/**
 * Return the ending for an HTTP status or a close code. A close code is 4000 plus a status.
 *
 * 204 stops an EventSource for good, so it stops this client too. A server that can't stream answers 501. Proxies, and
 * sites that have not mounted the endpoint, answer 404 and 426.
 *
 * @param {number} code
 * @param {number} [retry]  what the server asks for, in milliseconds
 */
export const refusal = (code, retry) => {
  const status = code % 4000;
  if ([204, 400, 401, 403].includes(status)) return lost(code, 0, "denied");
  const busy = [408, 425, 429].includes(status) || (status >= 500 && status !== 501);
  return busy ? lost(code, retry) : blocked(code);
};
