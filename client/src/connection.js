/** @typedef {import("./types.js").Ending} Ending */
/** @typedef {import("./types.js").Envelope} Envelope */

import { blocked, lost } from "./transports/ending.js";
import { HELLO } from "./wire.js";

/** How long the server's hello may take, in milliseconds. */
const HELLO_WITHIN = 4000;
/** How much silence means that the stream is dead, in milliseconds for each second between heartbeats. */
const SILENCE = 2500;

/** @typedef {ReturnType<typeof connect>} Connection */

/**
 * Use a transport, under watch: the connection ends when the transport does, without a hello, or in silence.
 *
 * @param {import("./types.js").Transport} transport
 * @param {import("./types.js").Request} request
 * @param {import("./types.js").Environment} io
 * @param {{receive: (envelopes: Envelope[]) => void, end: (ending: Ending, age: number) => void}} owner
 *   `age` is how long it was open, in milliseconds, -1 where it never was
 */
export function connect(transport, request, io, owner) {
  /** When the hello came. @type {number | undefined} */
  let opened;
  let heard = io.now();
  let limit = HELLO_WITHIN;
  let closed = false;
  /** @type {any} */
  let timer;
  /** @type {(() => void) | undefined} */
  let shut;

  const close = () => {
    closed = true;
    io.clearTimeout(timer);
    shut?.();
  };

  /** @param {Ending} ending */
  const end = (ending) => {
    if (closed) return;
    close();
    owner.end(ending, opened === undefined ? -1 : io.now() - opened);
  };

  /** End where the silence has lasted too long; look again when it will have. */
  const check = () => {
    io.clearTimeout(timer);
    if (closed || !limit) return;
    const left = heard + limit - io.now();
    if (left > 0) timer = io.setTimeout(check, left);
    else end(opened === undefined ? blocked("no hello") : lost("silence"));
  };

  /** Take a sign of life, which only what follows the hello is: a proxy may speak before. */
  const note = () => {
    if (opened !== undefined) heard = io.now();
  };

  /** @param {Envelope[]} envelopes */
  const receive = (envelopes) => {
    if (closed) return;
    const hello = envelopes.find(({ type }) => type === HELLO);
    if (hello) {
      opened = heard = io.now();
      limit = (hello.heartbeat ?? 0) * SILENCE;
      check();
    }
    note();
    owner.receive(envelopes);
  };

  const open = () => {
    if (closed) return;
    check();
    try {
      shut = transport(request, io, { heard: note, receive, end });
    } catch (error) {
      end(lost(error));
    }
  };

  return { open, check, end, close };
}
