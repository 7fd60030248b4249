/** @typedef {import("../types.js").Message} Message */
/** @typedef {import("../types.js").Outcome} Outcome */

import { sentence } from "./ways.js";

/** The shortest time between two messages of a type, in milliseconds. */
const APART = 1000 / 30;

/**
 * Return what sends ephemeral messages, such as cursors: of one group and type at most 30 a second, the newest. They are
 * sent once or not at all. Only the first is answered, so that a refusal shows.
 *
 * @param {(message: Message, isUnanswered?: boolean) => Promise<Outcome | undefined>} talk
 * @param {(message: Message) => Promise<Outcome | undefined>} post
 */
export const createMovement = (talk, post) => {
  /** The message that waits for its turn, by group and type; `undefined` for none. @type {Map<string, any>} */
  const turns = new Map();
  /** @type {Set<string>} */
  const answered = new Set();

  /** @param {string} name @param {Message} message */
  const go = async (name, message) => {
    const outcome = (await talk(message, answered.has(name))) ?? (await post(message));
    if (outcome?.ok) answered.add(name);
    if (!outcome || outcome.ok || outcome.code === "throttled") message.resolve(outcome?.reply);
    else message.reject(sentence(outcome));
  };

  /** @param {string} name */
  const turn = async (name) => {
    const message = turns.get(name);
    if (!message) return turns.delete(name);
    turns.set(name, undefined);
    const apart = new Promise((done) => setTimeout(done, APART));
    await go(name, message); // of two requests at once, the older one might arrive last
    await apart;
    turn(name);
  };

  return (/** @type {Message} */ message) => {
    const name = `${message.group} ${message.type}`;
    const isFirst = !turns.has(name);
    turns.get(name)?.resolve(); // a newer one takes its place
    turns.set(name, message);
    if (isFirst) turn(name);
  };
};
