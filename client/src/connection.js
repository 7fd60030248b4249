/** @typedef {import("./types.js").Ending} Ending */
/** @typedef {import("./types.js").Envelope} Envelope */

import { blocked, lost } from "./transports/ending.js";
import { HELLO } from "./wire.js";

/** How long the server's hello may take, in milliseconds. */
const HELLO_WITHIN = 4000;
/** How much silence means that the stream is dead, in milliseconds for each second between heartbeats. */
const SILENCE = 2500;
/** How long what came meanwhile may take to be told, where a timer was late or something is missing, in milliseconds. */
const GRACE = 1000;

/**
 * @typedef {object} Connection
 * @property {string} via  the name of its transport
 * @property {import("./types.js").Request} asks
 * @property {() => void} begin
 * @property {() => void} abandon
 * @property {(ending: Ending) => void} conclude
 * @property {() => void} lookOver  ends it where the silence has lasted too long
 * @property {() => void} doubt  ends it unless there is a sign of life soon: something came by another way
 * @property {() => number} silence  how long it has been, in milliseconds
 *
 * @typedef {(envelopes: Envelope[], connection: Connection) => void} Receive
 *
 * @typedef {(ending: Ending, age: number, connection: Connection) => void} Ended
 * `age` is how long the connection was open, in milliseconds, -1 where it never was.
 */

/**
 * Use a transport, under watch: the connection ends when the transport does, without a hello, or in silence.
 *
 * @param {string} name
 * @param {import("./types.js").Transport} transport
 * @param {import("./types.js").Request} request
 * @param {Receive} received
 * @param {Ended} ended
 * @returns {Connection}
 */
export const connect = (name, transport, request, received, ended) => {
  /** When the hello came; 0 before. */
  let opened = 0;
  let heard = Date.now();
  /** How long it may be silent; 0 where that says nothing. */
  let limit = transport.patient ? 0 : HELLO_WITHIN;
  let closed = false;
  /** @type {any} */
  let timer;
  /** @type {(() => void) | undefined} */
  let shut;

  const silence = () => Date.now() - heard;

  const abandon = () => {
    closed = true;
    clearTimeout(timer);
    shut?.();
  };

  /** @param {Ending} ending */
  const conclude = (ending) => {
    if (closed) return;
    abandon();
    ended(ending, opened ? Date.now() - opened : -1, connection);
  };

  const lookOver = () => {
    clearTimeout(timer);
    if (!limit) return;
    let late = silence() - limit;
    if (late > GRACE) {
      heard += late + GRACE; // the timer was late: after a sleep, what has come may be told after it
      late = -GRACE;
    }
    if (late < 0) timer = setTimeout(lookOver, -late);
    else conclude(opened ? lost("silence") : blocked("no hello"));
  };

  const doubt = () => {
    const before = heard;
    setTimeout(() => {
      if (heard === before) conclude(lost("stalled"));
    }, GRACE);
  };

  /** Take a sign of life, which only what follows the hello is: a proxy may speak before. */
  const note = () => {
    if (opened) heard = Date.now();
  };

  /** @param {Envelope[]} envelopes */
  const receive = (envelopes) => {
    if (closed) return;
    const [first] = envelopes;
    if (first?.type === HELLO) {
      opened = heard = Date.now();
      limit = /** @type {number} */ (first.heartbeat) * SILENCE; // NaN is as good as 0: a poll has no heartbeat
      lookOver();
    }
    note();
    received(envelopes, connection);
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

  const connection = { via: name, asks: request, begin, abandon, conclude, lookOver, doubt, silence };
  return connection;
};
