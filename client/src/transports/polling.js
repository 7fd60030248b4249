import { address, HELLO } from "../wire.js";
import { over } from "./http.js";

/** How long a poll waits before the next at least, and how much more at random, in milliseconds. */
const PAUSE = 1500;
const SPREAD = 1000;
/** How long an answer may take beyond the wait that was asked for, in milliseconds. */
const ANSWER_WITHIN = 10_000;
/** An answer that says nothing and comes sooner than this, in milliseconds, was not held. */
const NOT_HELD = 500;
/** An answer with as many events may have more behind it. */
const FULL = 100;

/**
 * Ask again and again, and say what an answer says as a stream would: hello or what was revoked since, reset, events,
 * position.
 *
 * @param {number} wait  how long the server may hold an answer, in seconds
 * @returns {import("../types.js").Transport}
 */
const polling = (wait) => {
  return (request, receive, end) =>
    over(end, async (get, controller) => {
      let { since } = request;
      /** What the last answer refused. @type {string[] | undefined} */
      let before;
      while (!controller.signal.aborted) {
        const asked = Date.now();
        const held = before ? wait : wait && 1; // the first says soon whether polling gets through
        const timer = setTimeout(() => controller.abort(), held * 1000 + ANSWER_WITHIN);
        const response = await get(address({ ...request, since }, `poll/?wait=${held}`));
        /** @type {import("../types.js").Answer} */
        const { events, position, reset, refused } = await response.json();
        clearTimeout(timer);
        const revoked = refused.filter((group) => !before?.includes(group));
        /** @type {import("../types.js").Envelope[]} */
        const said = [];
        if (!before) {
          const groups = request.groups.filter((group) => !refused.includes(group));
          said.push({ type: HELLO, position: since ?? position, groups, refused });
        } else if (revoked.length) said.push({ type: "livepush.revoked", groups: revoked });
        if (reset) said.push({ type: "livepush.reset", position, reason: "poll" });
        receive([...said, ...events, { type: "livepush.position", position }]);
        const pauses = wait ? !events.length && Date.now() - asked < NOT_HELD : events.length < FULL;
        if (since && pauses) await new Promise((resolve) => setTimeout(resolve, PAUSE + SPREAD * Math.random()));
        before = refused;
        since = position;
      }
    });
};

/** Each answer is held until there is something to say; a server that does not hold it is left alone for a while. */
export const longpoll = polling(25);

/** Each answer comes at once. */
export const poll = polling(0);
