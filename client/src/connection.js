/** @typedef {import("./types.js").Ending} Ending */
/** @typedef {import("./types.js").Envelope} Envelope */
/** @typedef {import("./types.js").Session} Session */

import { blocked, lost } from "./transports/ending.js";
import { HELLO } from "./wire.js";

/** How long the server's hello may take, in milliseconds. */
const HELLO_WITHIN = 4000;
/** After how much silence a stream is dead, in milliseconds for each second between heartbeats. */
const SILENCE = 2500;
/** How long to wait for pending input after a late timer, or when events are missing, in milliseconds. */
export const GRACE = 1000;

/**
 * @typedef {object} Connection
 * @property {string | null} via  the name of its transport; if a leader brings it, of the leader's
 * @property {import("./types.js").Request} asks
 * @property {() => void} begin
 * @property {() => void} abandon
 * @property {(ending: Ending) => void} conclude
 * @property {() => void} lookOver  ends it if the silence has lasted too long
 * @property {(text: string) => unknown} speak  writes a command; false if the transport can't
 * @property {() => number} silence  time since the last sign of life, in milliseconds
 *
 * @typedef {(session: Session, envelopes: Envelope[], connection: Connection) => void} Received
 *
 * @typedef {(session: Session, ending: Ending, age: number, connection: Connection) => void} Ended
 * `age` is how long the connection was open, in milliseconds, -1 if it never was open.
 */

/**
 * Use a transport and watch it: the connection ends with the transport, without a hello in time, or after silence.
 *
 * @param {Session} session
 * @param {string} name
 * @param {import("./types.js").Transport} transport
 * @param {import("./types.js").Request} request
 * @returns {Connection}
 */
export const connect = (session, name, transport, request) => {
  /** When the hello came; 0 before. */
  let opened = 0;
  let heard = Date.now();
  /** The value that a late timer gave `heard`. While `heard` keeps it, nothing has come, and a timer gets no more grace. */
  let excused = 0;
  /** How long it may be silent; 0 if silence means nothing. */
  let limit = transport.patient ? 0 : HELLO_WITHIN;
  let closed = false;
  /** @type {any} */
  let timer;
  /** @type {import("./types.js").Shut | undefined} */
  let shut;

  const abandon = () => {
    closed = true;
    clearTimeout(timer);
    shut?.();
  };

  /** @param {Ending} ending */
  const conclude = (ending) => {
    if (closed) return;
    abandon();
    session.whenEnded(session, ending, opened ? Date.now() - opened : -1, connection);
  };

  const lookOver = () => {
    clearTimeout(timer);
    if (!limit) return;
    const late = Date.now() - heard - limit;
    if (late > GRACE && heard !== excused) {
      excused = heard += late + GRACE; // the timer was late: after a sleep, input may be delivered after the timer
      lookOver();
    } else if (late < 0) timer = setTimeout(lookOver, Math.min(-late, limit));
    else conclude((opened ? lost : blocked)("silence"));
  };

  /** Note a sign of life. Only data after the hello counts: before it, a proxy may speak. */
  const note = () => {
    if (opened) heard = Date.now();
  };

  /** @param {Envelope[]} envelopes */
  const receive = (envelopes) => {
    if (closed) return;
    const [first] = envelopes;
    if (first?.type === HELLO) {
      heard = opened = Date.now();
      limit = /** @type {number} */ (first.heartbeat) * SILENCE; // NaN works like 0: a poll has no heartbeat
      lookOver();
    }
    note();
    session.received(session, envelopes, connection);
  };

  const begin = () => {
    if (closed) return;
    lookOver();
    try {
      shut = transport(request, receive, conclude, note);
    } catch (error) {
      conclude(lost(error));
    }
  };

  const speak = (/** @type {string} */ text) => shut?.speak?.(text);

  const connection = {
    via: name,
    asks: request,
    speak,
    begin,
    abandon,
    conclude,
    lookOver,
    silence: () => Date.now() - heard,
  };
  return connection;
};
