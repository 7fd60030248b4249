/** @typedef {import("./types.js").Envelope} Envelope */
/** @typedef {import("./types.js").Receive} Receive */
/** @typedef {import("./types.js").Welcome} Welcome */

import { compare } from "./position.js";
import { denied, lost } from "./transports/ending.js";
import { longpoll } from "./transports/polling.js";
import { HELLO, LEADER } from "./wire.js";

/**
 * Turn a leader's messages into a transport's envelopes: first a hello, then the events between the follower's position
 * and the leader's, which it polls, and then the events that the leader relays.
 *
 * @param {import("./types.js").Request} request
 * @param {Receive} hand
 * @param {import("./types.js").End} end
 */
export const listen = (request, hand, end) => {
  /** Receives relayed events; undefined before the leader's hello. @type {Receive | undefined} */
  let receive;
  /** @type {(() => void) | undefined} */
  let stop;

  /** @param {Welcome} hello */
  const begin = (hello) => {
    const { position, granted, refused } = hello;
    const groups = request.groups.filter((group) => granted.includes(group));
    if (!request.groups.every((group) => granted.includes(group) || refused.includes(group))) return; // it answers an earlier request
    const since = request.since ?? position;
    receive = hand;
    hand([{ ...hello, type: HELLO, position: since, groups }]);
    if (!groups.length) return end(hello.failed ? lost("failed") : denied("refused"));
    if (compare(position, since) <= 0) return;
    /** The events that the leader relays while older events are fetched. @type {Envelope[]} */
    const early = [];
    receive = (envelopes) => early.push(...envelopes);
    stop = longpoll(
      { ...request, since },
      (envelopes) => {
        hand(envelopes.filter(({ type }) => type !== HELLO));
        if (compare(position, /** @type {string} */ (envelopes.pop()?.position)) > 0) return;
        stop?.();
        receive = hand;
        hand(early);
      },
      end,
    );
  };

  return {
    /**
     * Handle a message of the leader.
     *
     * @param {string} kind
     * @param {any} what
     */
    heed(kind, what) {
      // the leader itself comes back after a bye
      if (kind === "events") receive?.(what.filter((/** @type {Envelope} */ { type }) => type !== "livepush.bye"));
      else if (kind === "state") {
        if (what.state !== "open" || receive) hand([{ type: LEADER, data: what }]);
      } else if (kind === "forgotten") end(lost(kind));
      else if (kind === "hello" && !receive) begin(what);
    },

    silence: () => stop?.(),
  };
};
