/** Gives the page's client `presence()`, and keeps the page's `<livepush-presence>` up to date. */

import { openRoom } from "./room.js";

/** How long the number of members must stay before it is said, in milliseconds. */
const QUIET = 3000;

const livepush = /** @type {any} */ (window).livepush;
const { url } = /** @type {any} */ (document.querySelector("script[data-livepush]")).dataset;

/** @param {any} group @returns {any} */
const open = (group) => openRoom(livepush, group, { url });

/** @param {string} name @param {any[]} inside @returns {any} */
const element = (name, ...inside) => {
  const made = document.createElement(name);
  made.append(...inside);
  return made;
};

/** Return a member's avatar. @param {import("./room.js").Member} member */
const avatar = (member) => {
  const name = `${member.info.name ?? ""}`; // a rule may return anything
  const initials = element("b", ...(name.match(/(?<!\S)\S/gu) ?? "?").slice(0, 2));
  const face = member.info.avatar ? element("img") : initials;
  const made = element("li", face, element("span", name));
  face.src = member.info.avatar; // of no effect on initials, as the next line
  face.onerror = () => face.replaceWith(initials);
  made.title = name;
  made.dataset.hue = member.id.charCodeAt(member.id.length - 1) % 6;
  if (member.state.away) made.dataset.away = "";
  face.setAttribute("aria-hidden", true); // Firefox knows the property since 119
  initials.setAttribute("aria-hidden", true);
  return made;
};

if (!livepush.presence) {
  livepush.presence = open;
  customElements.define(
    "livepush-presence",
    class extends HTMLElement {
      static observedAttributes = ["data-group"];

      /** A library that morphs the page may have made it another group's. */
      attributeChangedCallback() {
        if (!this.room) return; // it is not in the page
        this.room.leave();
        this.connectedCallback();
      }

      connectedCallback() {
        /** @type {any} */
        let timer;
        this.room = open(this.dataset.group);
        this.room.on("change", (/** @type {any[]} */ members) => {
          const max = /** @type {any} */ (this.dataset.max);
          const [list, count, status] = /** @type {any} */ (this.children);
          list.replaceChildren(...members.slice(0, max).map(avatar));
          if (members.length > max) list.append(element("li", "+", members.length - max));
          count.replaceChildren(members.length);
          clearTimeout(timer);
          timer = setTimeout(() => {
            status.replaceChildren(status.dataset.label, " ", members.length);
          }, QUIET);
        });
      }

      disconnectedCallback() {
        this.room = this.room.leave();
      }
    },
  );
}
