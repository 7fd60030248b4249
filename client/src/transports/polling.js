/** @typedef {import("../types.js").Envelope} Envelope */
/** @typedef {ReturnType<typeof parseAnswer>} Answer */

import { address, HELLO, OWN, parseAnswer } from "../wire.js";
import { over } from "./http.js";

/** How long a poll waits before the next, on average, in milliseconds. */
const INTERVAL = 2000;
/** How long an answer may take beyond the wait that was asked for, in milliseconds. */
const ANSWER_WITHIN = 10_000;
/** An answer that says nothing and comes sooner than this, in milliseconds, was not held. */
const NOT_HELD = 500;
/** An answer with as many events may have more behind it. */
const FULL = 100;

/** Each answer is held until there is something to say; a server that does not hold it is left alone for a while. */
export const longpoll = polling(25, ({ events }, took) => !events.length && took < NOT_HELD);

/** Each answer comes at once. */
export const poll = polling(0, ({ events }) => events.length < FULL);

/**
 * @param {number} wait  how long the server may hold an answer, in seconds
 * @param {(answer: Answer, took: number) => boolean} pauses  whether to leave the server alone after an answer
 * @returns {import("../types.js").Transport}
 */
function polling(wait, pauses) {
  return (request, io, sink) =>
    over(io, sink, async (get, controller) => {
      /** @type {Answer | undefined} */
      let last;
      while (!controller.signal.aborted) {
        const asked = io.now();
        const since = last ? last.position : request.since;
        const held = last ? wait : Math.min(wait, 1); // the first says soon whether polling gets through
        const timer = io.setTimeout(() => controller.abort(), held * 1000 + ANSWER_WITHIN);
        const answer = await get(address({ ...request, since }, io.base, "poll/", `wait=${held}`))
          .then((response) => response.text())
          .then(parseAnswer)
          .finally(() => io.clearTimeout(timer));
        sink.receive(envelopes(answer, request, last));
        last = answer;
        if (since !== null && pauses(answer, io.now() - asked)) await pause(io);
      }
    });
}

/** @param {import("../types.js").Environment} io */
function pause(io) {
  return new Promise((resolve) => io.setTimeout(() => resolve(0), INTERVAL * (0.75 + io.random() / 2)));
}

/**
 * Say what an answer says as a stream would: hello or what was revoked since, reset, events, position.
 *
 * @param {Answer} answer
 * @param {import("../types.js").Request} request
 * @param {Answer | undefined} last  the answer before
 * @returns {Envelope[]}
 */
function envelopes({ events, position, reset, refused, reason = "poll" }, { groups, since }, last) {
  const granted = groups.filter((group) => !refused.includes(group));
  const revoked = refused.filter((group) => last && !last.refused.includes(group));
  /** @type {Envelope[]} */
  const said = last ? [] : [{ type: HELLO, position: since ?? position, groups: granted, refused }];
  if (revoked.length) said.push({ type: `${OWN}revoked`, groups: revoked });
  if (reset) said.push({ type: `${OWN}reset`, position, reason });
  return [...said, ...events, { type: `${OWN}position`, position }];
}
