/** @typedef {import("./types.js").Envelope} Envelope */

/**
 * Dispatch `livepush:<name>` on a target.
 *
 * @param {EventTarget} target
 * @param {string} name
 * @param {object} [detail]
 */
export const dispatch = (target, name, detail) => {
  target.dispatchEvent(new CustomEvent(`livepush:${name}`, { detail }));
};

/**
 * Dispatch an event on a target, for the listeners of its type and for the listeners of all events.
 *
 * @param {EventTarget} target
 * @param {Envelope} envelope
 */
export const announce = (target, envelope) => {
  dispatch(target, `event:${envelope.type}`, envelope);
  dispatch(target, "event", envelope);
};
