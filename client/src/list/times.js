/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS = [
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
  ["second", Number.NEGATIVE_INFINITY], // "now"
];

/**
 * Show the ages of a list's times, and the date and time on hovering. The server says how old each was when the list was
 * made: this computer's clock may be wrong.
 *
 * They are in the list's language, or in the browser's own where it is none that a browser knows.
 *
 * @param {ParentNode} root
 */
export const showTimes = (root) => {
  let lang = /** @type {any} */ (root.querySelector("form"))?.dataset.lang;
  try {
    Intl.getCanonicalLocales(lang);
  } catch {
    lang = [];
  }
  const format = new Intl.RelativeTimeFormat(lang, { numeric: "auto" });
  for (const time of /** @type {NodeListOf<any>} */ (root.querySelectorAll("time"))) {
    const told = time.dataset.age + time.dateTime;
    if (time.told !== told) time.born = Date.now() - time.dataset.age * 1000; // the list was made anew
    time.told = told;
    const age = Math.round((Date.now() - time.born) / 1000);
    const [unit, size] = /** @type {any} */ (UNITS.find(([, size]) => age >= size));
    time.textContent = format.format(-Math.floor(age / size), unit);
    time.title = new Date(time.dateTime).toLocaleString(lang);
  }
};
