/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS = [
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
  ["second", Number.POSITIVE_INFINITY], // "now"
];

/**
 * Show the ages of a list's times, and the date and time on hovering.
 *
 * @param {ParentNode} root
 */
export const showTimes = (root) => {
  const lang = document.documentElement.lang || [];
  const format = new Intl.RelativeTimeFormat(lang, { numeric: "auto" });
  for (const time of root.querySelectorAll("time")) {
    const date = new Date(time.dateTime);
    const age = (Date.now() - date.getTime()) / 1000;
    const [unit, size] = /** @type {any} */ (UNITS.find(([unit, size]) => age >= size || unit === "second"));
    time.textContent = format.format(-Math.floor(age / size), unit);
    time.title = date.toLocaleString(lang);
  }
};
