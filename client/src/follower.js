/** @typedef {import("./types.js").Envelope} Envelope */
/** @typedef {import("./types.js").Receive} Receive */
/** @typedef {import("./types.js").Welcome} Welcome */

import { compare } from "./position.js";
import { denied } from "./transports/ending.js";
import { longpoll } from "./transports/polling.js";
import { HELLO } from "./wire.js";

/**
 * Make of what a leader says what a transport hands over: hello, what lies between the follower's own position and the
 * leader's, by polling, and then what the leader relays.
 *
 * @param {import("./types.js").Request} request
 * @param {Receive} hand
 * @param {import("./types.js").End} end
 * @param {(state: import("./types.js").StateDetail) => void} mirror  called with the state of the leader's connection
 */
export const listen = (request, hand, end, mirror) => {
  /** What is relayed while older events are fetched. @type {Envelope[]} */
  const early = [];
  /** What is done with what is relayed: nothing before the leader's hello. @type {Receive | undefined} */
  let receive;
  /** @type {(() => void) | undefined} */
  let stop;

  const flow = () => {
    receive = hand;
    receive(early);
  };

  /** @param {Welcome} hello */
  const begin = (hello) => {
    const { position } = hello;
    const groups = request.groups.filter((group) => hello.granted.includes(group));
    const since = request.since ?? position;
    receive = (envelopes) => early.push(...envelopes);
    hand([{ ...hello, type: HELLO, position: since, groups }]);
    if (!groups.length) return end(denied("refused"));
    if (compare(position, since) <= 0) return flow();
    stop = longpoll(
      { ...request, since },
      (envelopes) => {
        hand(envelopes.filter(({ type }) => type !== HELLO));
        if (compare(position, /** @type {string} */ (envelopes.pop()?.position)) > 0) return;
        stop?.();
        flow();
      },
      end,
    );
  };

  return {
    /**
     * Take what the leader says.
     *
     * @param {string} kind
     * @param {any} what
     */
    heed(kind, what) {
      if (kind === "events") receive?.(what);
      else if (kind === "state") {
        if (what.state !== "open" || receive) mirror(what);
      } else if (kind === "hello" && !receive) begin(what);
    },

    silence: () => stop?.(),
  };
};
