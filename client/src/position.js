/** @param {string} position */
const split = (position) => {
  const dash = position.lastIndexOf("-");
  return [position.slice(0, dash), position.slice(dash + 1)];
};

/**
 * Compare two positions: negative, 0 or positive; `NaN` when their epochs differ.
 *
 * Numbers have up to 19 digits and no leading zeros, so the longer text is the larger number.
 *
 * @param {string} a
 * @param {string} b
 */
export function compare(a, b) {
  const [epochA, numberA = ""] = split(a);
  const [epochB, numberB = ""] = split(b);
  if (epochA !== epochB) return Number.NaN;
  return numberA.length - numberB.length || Number(numberA > numberB) - Number(numberA < numberB);
}

/**
 * Return the lower of two positions; the one there is, when the other is missing; the first, when their epochs differ.
 *
 * @param {string | null} a
 * @param {string | null} b
 */
export function lower(a, b) {
  if (a === null || b === null) return a ?? b;
  return compare(b, a) < 0 ? b : a;
}
