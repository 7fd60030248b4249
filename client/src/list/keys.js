import { focusOn } from "./focus.js";

/** @type {Record<string, number>} */
const STEPS = { arrowdown: 1, j: 1, arrowup: -1, k: -1 };
/** @type {Record<string, number>} */
const SIDES = { arrowright: 1, arrowleft: -1 };
/** @type {Record<string, string>} */
const CONTROLS = { e: "archive", u: "read" };

/**
 * Do what a key of the list means; return whether it means anything. In a field, which a template may add, it is text.
 *
 * @param {any} event
 * @param {any[]} entries
 * @param {any} help  lists the keys
 */
export const press = (event, entries, help) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.getModifierState("AltGraph")) return false;
  if (target.matches(":read-write,input,select")) return false;
  // Caps lock may be on; and where the letters are not Latin ones, the place of a key tells which one is meant.
  const name = (key > "~" && /^Key/.test(event.code) ? event.code.slice(-1) : key).toLowerCase();
  const entry = target.closest("li");
  if (STEPS[name]) focusOn(entries[entries.indexOf(entry) + STEPS[name]]);
  else if (entry && CONTROLS[name]) {
    if (!event.repeat) entry.querySelector(`[data-f=${CONTROLS[name]}]`)?.click(); // a key that is held down is one press
  } else if (entry && SIDES[name]) {
    const controls = [...entry.querySelectorAll("a,button,summary")];
    const sign = getComputedStyle(entry).direction === "rtl" ? -1 : 1;
    controls.at((controls.indexOf(target) + SIDES[name] * sign) % controls.length).focus();
  } else if (help && /[?؟]/.test(key)) help.toggleAttribute("open");
  else return false;
  return true;
};
