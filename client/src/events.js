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
