/**
 * The elements of the page that show the inbox now.
 *
 * @type {Set<any>}
 */
const parts = new Set();

/** @param {(part: any) => void} work */
export const each = (work) => {
  parts.forEach(work);
};

/** An element whose content the server has rendered, in a shadow tree of its own or within another element's. */
export class Part extends HTMLElement {
  /** @type {any} */
  root;

  connectedCallback() {
    parts.add(this);
    if (this.root) return;
    const template = /** @type {HTMLTemplateElement | null} */ (this.querySelector("template[shadowrootmode]"));
    if (template) this.attachShadow({ mode: "open" }).append(template.content); // the parser did not do it
    this.root = this.shadowRoot ?? this;
    for (const type of ["click", "submit", "keydown"]) this.root.addEventListener(type, this);
    /** @type {any} */ (this).begin?.();
  }

  disconnectedCallback() {
    parts.delete(this);
  }

  /** @param {Event} event */
  handleEvent(event) {
    /** @type {any} */ (this)[`on_${event.type}`]?.(event);
  }

  /** @param {string} selector */
  find(selector) {
    return this.root.querySelector(selector);
  }
}
