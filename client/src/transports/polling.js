import { address, HELLO } from "../wire.js";
import { lost } from "./ending.js";
import { over } from "./http.js";

/** The shortest pause between two polls, and the longest random addition to it, in milliseconds. */
const PAUSE = 1500;
const SPREAD = 1000;
/** How long an answer may take in addition to the requested wait, in milliseconds. */
const ANSWER_WITHIN = 10_000;
/** The server did not hold an empty answer that comes sooner than this, in milliseconds. */
const NOT_HELD = 500;
/** After an answer with this many events, there may be more. */
const FULL = 100;

/**
 * Poll repeatedly, and hand each answer over as a stream would: hello (later: the newly revoked groups), reset, events,
 * position.
 *
 * @param {number} wait  how long the server may hold an answer, in seconds
 * @returns {import("../types.js").Transport}
 */
const polling = (wait) => {
  return (request, receive, end) =>
    over(request, end, async (get, controller) => {
      let since = request.since;
      /** The groups that the last answer refused, unless rules failed: then the next answer is a hello too. @type {string[] | undefined} */
      let before;
      while (!controller.signal.aborted) {
        const asked = Date.now();
        const held = before ? wait : wait && 1; // the first answer soon shows whether polling gets through
        const timer = setTimeout(() => controller.abort(), held * 1000 + ANSWER_WITHIN);
        const response = await get(address({ ...request, since }, `poll/?wait=${held}`));
        /** @type {import("../types.js").Answer} */
        const { events, position, reset, refused, failed, reason = "refused" } = await response.json();
        clearTimeout(timer);
        if (reason === "token") throw lost(reason); // with another one, nothing is refused
        const revoked = refused.filter((group) => !before?.includes(group));
        /** @type {import("../types.js").Envelope[]} */
        const said = [];
        const groups = request.groups.filter((group) => !refused.includes(group));
        if (!before || failed) said.push({ type: HELLO, position: since ?? position, groups, refused, failed });
        else if (revoked.length) said.push({ type: "livepush.revoked", groups: revoked, reason });
        if (reset) said.push({ type: "livepush.reset", position, reason: "poll" });
        said.push(...events, { type: "livepush.position", position });
        receive(said);
        const pauses = failed || (wait ? !events.length && Date.now() - asked < NOT_HELD : events.length < FULL);
        if (since && pauses) await new Promise((resolve) => setTimeout(resolve, PAUSE + SPREAD * Math.random()));
        before = failed ? undefined : refused;
        since = position;
      }
    });
};

/** The server holds each answer until there are events. If a server does not hold answers, the client pauses. */
export const longpoll = polling(25);

/** Each answer comes at once. */
export const poll = polling(0);
