import { showTimes } from "./times.js";

/** The addresses of pictures that did not come. @type {Set<string>} */
const broken = new Set();

/**
 * Take away the pictures that do not come: the sign is behind them.
 *
 * @param {any} root
 */
export const watchPictures = (root) => {
  const drop = (/** @type {any} */ { target: picture }) => {
    broken.add(picture.src);
    picture.remove();
  };
  root.addEventListener("error", drop, true);
  for (const picture of root.querySelectorAll("img")) {
    if (picture.complete && !picture.naturalWidth) drop({ target: picture }); // it failed before this script came
  }
};

/** Set up entries: the things that only scripts can do, and one stop for each entry. @param {any} root */
export const prepare = (root) => {
  showTimes(root);
  const keys = root.querySelector("[part=keys]");
  if (keys) keys.hidden = false;
  for (const control of root.querySelectorAll("[part=actions] button,li summary")) control.tabIndex = -1;
  for (const picture of root.querySelectorAll("img")) if (broken.has(picture.src)) picture.remove();
};

/**
 * Show an entry as unread, or as read; its button does the opposite.
 *
 * @param {any} entry
 * @param {boolean} isUnread
 */
export const paint = (entry, isUnread) => {
  entry.toggleAttribute("data-unread", isUnread);
  const button = entry.querySelector("[data-f=read]");
  if (button) button.formAction = button.formAction.replace(/\w+\/$/, isUnread ? "read/" : "unread/");
};
