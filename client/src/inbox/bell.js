import { each, Part } from "./elements.js";

/**
 * After how long a page is one that stays, in milliseconds. It loads the list's code while that is there: a later
 * release of the site may have other files.
 */
const STAYS = 30_000;

/** A button with a badge, and the panel that it opens. */
export class Bell extends Part {
  isOpen = false;

  begin() {
    this.panel = this.find("#panel");
    this.button = this.find("button");
    const soon = () => this.prepare(); // the panel is about to open
    for (const type of ["pointerenter", "focus"]) this.button.addEventListener(type, soon);
    new ResizeObserver(() => this.place()).observe(this.panel); // when it opens, and as its list grows
    if (this.panel.showPopover) {
      this.panel.hidden = false; // it is closed
      this.panel.ontoggle = (/** @type {ToggleEvent} */ { newState }) => this.turn(newState === "open");
    } else {
      this.button.onclick = () => this.toggle(!this.isOpen);
    }
  }

  /** @param {AbortSignal} signal */
  enter(signal) {
    const timer = setTimeout(() => this.prepare(), STAYS);
    signal.onabort = () => clearTimeout(timer);
    const place = () => this.place();
    addEventListener("resize", place, { signal });
    addEventListener("scroll", place, { signal, capture: true, passive: true });
    if (this.panel.showPopover) return; // it has closed if the bell was moved
    if (this.isOpen) this.toggle(false);
    const leave = (/** @type {Event} */ event) => {
      const key = /** @type {KeyboardEvent} */ (event).key;
      if (this.isOpen && (key ? key === "Escape" : !event.composedPath().includes(this))) this.toggle(false);
    };
    for (const type of ["pointerdown", "keydown"]) document.addEventListener(type, leave, { signal });
  }

  /** Load the list's code. */
  prepare() {
    this.find("livepush-list").prepare();
  }

  /** Show or hide the panel where the browser can't. @param {boolean} isOpen */
  toggle(isOpen) {
    this.panel.hidden = !isOpen;
    this.button.setAttribute("aria-expanded", isOpen);
    this.turn(isOpen);
  }

  /** The panel has opened, or has closed. @param {boolean} isOpen */
  turn(isOpen) {
    this.isOpen = isOpen;
    const list = this.find("livepush-list");
    if (isOpen) {
      list.start();
      each((part) => part.raise?.());
    } else {
      if (this.panel.contains(this.root.activeElement)) this.button.focus(); // Chromium does not do it in a shadow tree
      list.close();
    }
  }

  /** Put the panel below the button, and into the window. */
  place() {
    const { bottom, right } = this.button.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height, style, currentCSSZoom: zoom = 1 } = this.panel;
    if (!width) return; // it is closed
    style.left = `${Math.max(8, Math.min(right, innerWidth - 8) - width * zoom) / zoom}px`;
    style.top = `${Math.max(8, Math.min(bottom + 8, innerHeight - 8 - height * zoom)) / zoom}px`;
  }
}
