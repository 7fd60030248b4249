/** @typedef {import("../types.js").Link} Link */
/** @typedef {import("../types.js").Message} Message */
/** @typedef {import("../types.js").Outcome} Outcome */

import { createMovement } from "./movement.js";
import { forget, keep, loginOf, restore } from "./store.js";
import { encode, post, sentence, speak } from "./ways.js";

/** The longest random waits between attempts, in milliseconds: at first, and at most. */
const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 30_000;
/**
 * How long a message waits for what has to go before it, in milliseconds: ephemeral ones, such as the typing of it, and
 * those that an earlier page has left.
 */
const OVERTAKE = 1000;

/**
 * Return what sends a page's messages. Each goes out until it is answered, in the order of its group, and takes effect
 * once: the server knows it by its key.
 *
 * @param {Link} link
 */
export const createSender = (link) => {
  const { target } = link;
  /** The messages that wait for an answer, by group. @type {Map<string, Message[]>} */
  const lines = new Map();
  const { talk, hear } = speak(link);
  link.onReply = hear;

  /** @param {Message} message */
  const deliver = async (message) => (await talk(message)) || (await post(link, message));
  const move = createMovement(talk, (message) => post(link, message));
  /** The ends of the newest ephemeral messages, by group and type. @type {Map<string, Promise<void>>} */
  const moving = new Map();

  /** The messages that wait for what an earlier page has left. @type {Set<Message>} */
  const early = new Set();

  const pending = () =>
    [...lines.values(), ...early].flat().map(({ group, type, data, key }) => ({ group, type, data, key }));
  /** @param {string} name @param {unknown} detail */
  const dispatch = (name, detail) => target.dispatchEvent(new CustomEvent(`livepush:${name}`, { detail }));
  const tell = () => {
    link.pending = pending();
    dispatch("pending", { pending: link.pending });
  };

  /** @param {string} group @param {Message[]} line */
  const work = async (group, line) => {
    for (let tries = 0; line[0]; ) {
      const [message] = line;
      await message.after;
      const outcome = await deliver(message);
      if (!outcome || /^(unavailable|throttled)$/.test(outcome.code ?? "")) {
        await pause(tries++, outcome?.retry);
        continue;
      }
      tries = 0;
      line.shift();
      if (!line.length) lines.delete(group);
      forget(message);
      const { type, data, key } = message;
      const answer = outcome.ok ? { reply: outcome.reply } : { error: sentence(outcome) };
      if (answer.error) message.reject(answer.error);
      else message.resolve(answer.reply);
      tell();
      dispatch("answered", { group, type, data, key, ...answer });
    }
  };

  /**
   * Wait before the next attempt: for what the server asks for, else until the line is back or a while is over.
   *
   * @param {number} tries
   * @param {number} [retry]
   */
  const pause = (tries, retry) =>
    new Promise((/** @type {(value?: unknown) => void} */ done) => {
      const spread = Math.min(FIRST_PAUSE * 2 ** tries, LONGEST_PAUSE) * Math.random();
      const timer = setTimeout(end, (retry ?? 100) + spread);
      const opened = (/** @type {any} */ { detail }) => detail.state === "open" && !retry && end();
      target.addEventListener("livepush:state", opened);
      function end() {
        clearTimeout(timer);
        target.removeEventListener("livepush:state", opened);
        done();
      }
    });

  /** @param {Message} message */
  const enqueue = (message) => {
    const line = lines.get(message.group);
    if (line) line.push(message);
    else {
      const fresh = [message];
      lines.set(message.group, fresh);
      work(message.group, fresh);
    }
  };

  /** Done when what an earlier page has left is in line: what this page sends comes after it. */
  const restored = soon(
    restore(link, (message) => {
      encode(message);
      enqueue(message);
      tell();
    }),
  );

  return {
    /**
     * Send a message; return a promise of the server's answer.
     *
     * @param {string} group
     * @param {string} type
     * @param {unknown} [data]
     * @param {import("../types.js").SendOptions} [options]
     */
    send: (group, type, data, { key = newKey(), ephemeral, persist } = {}) =>
      new Promise((resolve, reject) => {
        /** @type {Message} */
        const message = {
          group,
          type,
          data,
          key,
          ephemeral,
          resolve,
          reject,
          text: "",
          login: loginOf(link),
        };
        if (!encode(message)) return;
        if (ephemeral) {
          const ended = new Promise((/** @type {(value: void) => void} */ end) => {
            message.resolve = (reply) => end(resolve(reply));
            message.reject = (error) => end(reject(error));
          });
          moving.set(`${group} ${type}`, ended);
          move(message);
        } else {
          const first = [...moving].map(([name, ended]) => name.startsWith(`${group} `) && ended);
          message.after = soon(Promise.all(first));
          if (persist) message.kept = keep(link, message);
          early.add(message);
          tell();
          restored.then(() => early.delete(message) && enqueue(message));
        }
      }),
  };
};

/** @param {Promise<unknown>} done */
const soon = (done) => Promise.race([done, new Promise((late) => setTimeout(late, OVERTAKE))]);

/** Return a key that nobody can guess. `crypto.randomUUID` needs a page that came over TLS. */
const newKey = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");
