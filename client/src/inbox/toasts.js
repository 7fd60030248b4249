import { Part } from "./elements.js";
import { reader as current } from "./request.js";

/** How many are shown at once, and for how many seconds. */
const MAX_SHOWN = 3;
const SECONDS = 8;

/** Shows new notifications for a while. They stay while the pointer or the focus is on them, or the page is hidden. */
export class Toasts extends Part {
  /** How many are not shown. */
  hiding = 0;
  /** Whose they are. @type {string | undefined} */
  reader;

  begin() {
    this.list = this.find("ol");
    this.root.addEventListener("auxclick", this);
  }

  /** @param {AbortSignal} signal */
  enter(signal) {
    const timer = setInterval(() => {
      if (!this.list.firstChild) return this.hide(0);
      if (this.isLate) this.raise();
      if (document.hidden || this.isInert() || this.find("section").matches(":hover,:focus-within")) return;
      for (const toast of this.list.children) if (!--toast.seconds) toast.remove();
    }, 1000);
    signal.onabort = () => clearInterval(timer);
    this.raise(); // it may have been moved
    const focus = (/** @type {KeyboardEvent} */ { key }) => {
      const button = this.find("li button");
      if (key !== "F8" || !button) return;
      if (!this.list.contains(this.root.activeElement)) this.origin = document.activeElement;
      button.focus();
    };
    document.addEventListener("keydown", focus, { signal });
  }

  /** @param {any} event */
  on_click({ target, detail }) {
    const control = target.closest("button,a");
    const toast = target.closest("li");
    if (!control || !toast) return;
    if (control.href) toast.read();
    this.close(toast, !detail);
  }

  /** A middle click follows a link too. @param {any} event */
  on_auxclick({ target, button }) {
    if (button === 1 && target.closest("li a[href]")) this.on_click({ target, detail: 1 });
  }

  /** @param {any} event */
  on_keydown({ key, target }) {
    if (key === "Escape") this.close(target.closest("li"), true);
  }

  /**
   * Remove a toast. By keyboard, the focus goes to the next one, and after the last one to where F8 took it from.
   *
   * @param {any} toast
   * @param {boolean} isByKey
   */
  close(toast, isByKey) {
    const next = toast?.nextSibling ?? toast?.previousSibling;
    toast?.remove();
    if (isByKey) (next?.querySelector("button") ?? this.origin)?.focus();
  }

  /** Show nothing of anybody while somebody else, or nobody, is logged in. @param {string} why */
  lose(why) {
    if (!why && this.reader === current) return;
    this.list.replaceChildren();
    this.hide(0);
  }

  /** Go on showing what an element showed that has left the page. @param {any} other */
  inherit({ list, hiding, reader }) {
    if (!list?.firstChild || reader !== current) return;
    this.reader = reader;
    this.list.prepend(...list.children);
    this.hide(this.hiding + hiding);
    this.raise();
  }

  /**
   * Return whether a click on the newest toast would go to what is below: a modal dialog, which may be in another
   * element's shadow tree, makes everything outside of it inert.
   */
  isInert() {
    const { x, y } = this.find("li a").getBoundingClientRect();
    return !this.list.contains(this.list.getRootNode().elementFromPoint(x + 1, y + 1));
  }

  /** Bring the toasts above everything that has opened since. */
  raise() {
    const area = this.find("section");
    if (!this.list.firstChild || !area.showPopover || area.ownerDocument !== document) return;
    area.hidePopover();
    area.showPopover();
    this.isLate = this.isInert();
    if (this.isLate) area.hidePopover();
  }

  /** @param {number} hiding */
  hide(hiding) {
    this.hiding = hiding;
    const link = this.find("[data-more]");
    link.hidden = !hiding;
    link.textContent = link.dataset.more.replace("%s", hiding);
  }

  /**
   * @param {{title: string, body?: string, url?: string, level: string}} said
   * @param {() => void} read  marks the notification as read
   */
  show({ title, body = "", url, level }, read) {
    this.reader = current;
    if (this.list.children[MAX_SHOWN - 1]) return this.hide(this.hiding + 1);
    const toast = this.find("template").content.firstChild.cloneNode(true);
    const link = toast.querySelector("a");
    link.textContent = title;
    if (url) link.href = url;
    toast.querySelector("p").textContent = body;
    toast.dataset.level = level;
    toast.seconds = level === "error" ? 0 : SECONDS; // errors stay until somebody closes them
    toast.read = read;
    this.list.prepend(toast);
    this.raise();
  }
}
