/** Gives the page's client `presence()`, and keeps the page's `<livepush-presence>` up to date. */

import { openRoom } from "./room.js";

/** How long the number of members must stay before it is said, in milliseconds. */
const QUIET = 3000;

const { livepush } = /** @type {any} */ (window);
const { url } = /** @type {any} */ ([...document.querySelectorAll("script[data-livepush]")].pop()).dataset;

/** @param {string} group */
const open = (group) =>
  openRoom(livepush, group, {
    url,
    headers: () => ({
      "x-csrftoken": /** @type {any} */ (document.querySelector("[data-csrf]"))?.dataset.csrf,
    }),
  });

/** @param {string} name */
const element = (name, text = "") => {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
};

/** Return a member's avatar. @param {import("./room.js").Member} member */
const avatar = ({ id, info: { name = "", avatar }, state: { away } }) => {
  const made = element("li");
  const initials = name
    .match(/(?<!\S)\S/gu)
    ?.slice(0, 2)
    .join("");
  const face = element(avatar ? "img" : "b", avatar ? "" : (initials ?? "?"));
  if (avatar) /** @type {any} */ (face).src = avatar;
  made.title = name;
  made.dataset.hue = /** @type {any} */ (id.charCodeAt(id.length - 1) % 6);
  if (away) made.dataset.away = "";
  face.ariaHidden = "true";
  made.append(face, element("span", name));
  return made;
};

class Presence extends HTMLElement {
  connectedCallback() {
    const { group, max } = /** @type {any} */ (this.dataset);
    const [list, count, status] = /** @type {any} */ (this.children);
    /** @type {any} */
    let timer;
    this.room = livepush.presence(group);
    this.room.on("change", (/** @type {any[]} */ members) => {
      list.replaceChildren(...members.slice(0, max).map(avatar));
      const more = members.length - max;
      if (more > 0) list.append(element("li", `+${more}`));
      count.textContent = members.length;
      clearTimeout(timer);
      timer = setTimeout(() => {
        status.textContent = `${status.dataset.label} ${members.length}`;
      }, QUIET);
    });
  }

  disconnectedCallback() {
    this.room.leave();
  }
}

if (!livepush.presence) {
  livepush.presence = open;
  customElements.define("livepush-presence", Presence);
}
