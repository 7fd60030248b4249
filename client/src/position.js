/** @param {string} position */
const epoch = (position) => position.replace(/\d+$/, "");

/**
 * Compare two positions: negative, 0 or positive; `NaN` when their epochs differ.
 *
 * Numbers have up to 19 digits and no leading zeros, so the longer text is the larger number.
 *
 * @param {string} a
 * @param {string} b
 */
export const compare = (a, b) => {
  if (epoch(a) !== epoch(b)) return Number.NaN;
  return a.length - b.length || Number(a > b) - Number(a < b);
};

/**
 * Return whether a position may be after another: also if one is unknown, or if their epochs differ.
 *
 * @param {string | null | undefined} a
 * @param {string | null | undefined} b
 */
export const isAfter = (a, b) => !a || !b || !(compare(a, b) <= 0);

/**
 * Return the lower of two positions. If one is missing, return the other; if their epochs differ, return the first.
 *
 * @template {string | null} T
 * @param {T} a
 * @param {string | null} [b]
 * @returns {T | string}
 */
export const lower = (a, b) => {
  if (!a || !b) return b || a;
  return compare(b, a) < 0 ? b : a;
};
