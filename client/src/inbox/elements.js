/**
 * The elements of the page that show the inbox now.
 *
 * @type {Set<any>}
 */
export const parts = new Set();
/**
 * The server's latest content of an element of each name. A library that brings back a copy of a page's body brings back
 * elements without their shadow trees.
 *
 * @type {Map<string, Node>}
 */
const originals = new Map();

/** Keep the content of an element's shadow tree. @param {Element} element @param {ShadowRoot} root */
const keep = ({ localName }, root) => {
  const copy = document.createDocumentFragment();
  for (const node of root.childNodes) copy.append(node.cloneNode(true));
  originals.set(localName, copy);
};

/**
 * Keep the content of elements within templates, which a library may take copies from. These come without it.
 *
 * @param {ParentNode} root
 */
const gather = (root) => {
  for (const { content } of root.querySelectorAll("template")) {
    for (const each of content.querySelectorAll("*")) {
      if (each.shadowRoot && /^livepush-/.test(each.localName)) keep(each, each.shadowRoot);
    }
    gather(content);
  }
};
gather(document);

/** The badge's text. @type {string | undefined} */
let badge;
/** Why the elements show nothing: see `request.js`. */
let why = "";

/** @param {(part: any) => void} work */
export const each = (work) => {
  parts.forEach(work);
};

/** Tell every element the badge's text, also those that come later. @param {string} text */
export const tellAll = (text) => {
  badge = text;
  each((part) => part.tell?.(text));
};

/** Have every element show nothing for a reason, or show what it has again; also those that come later. @param {string} reason */
export const loseAll = (reason) => {
  why = reason;
  each((part) => part.lose?.(why));
};

/** An element whose content the server has rendered, in a shadow tree of its own or within another element's. */
export class Part extends HTMLElement {
  /** @type {any} */
  root;
  /** Aborts when the element leaves the document. It may come back. */
  stay = new AbortController();
  /** Whether its content is the original one, which may be old. */
  isRestored = false;

  connectedCallback() {
    parts.add(this);
    this.stay = new AbortController();
    const isBack = this.root;
    if (!isBack) {
      this.build();
      for (const type of ["click", "submit", "keydown"]) this.root.addEventListener(type, this);
      /** @type {any} */ (this).begin?.();
    }
    /** @type {any} */ (this).enter?.(this.stay.signal);
    if (isBack || this.isRestored || why) /** @type {any} */ (this).lose?.(why); // it was not told what came meanwhile
    if (badge !== undefined) /** @type {any} */ (this).tell?.(badge);
  }

  disconnectedCallback() {
    parts.delete(this);
    this.stay.abort();
    queueMicrotask(() => {
      if (!this.isConnected) each((part) => part.inherit?.(this)); // a new body of the page may have taken its place
    });
  }

  /** The server's template, where no parser has made a shadow tree of it. @returns {HTMLTemplateElement | null} */
  get template() {
    return this.querySelector("template[shadowrootmode]");
  }

  /** Give the element its shadow tree, if it is to have one. */
  build() {
    const { template } = this;
    const original = originals.get(this.localName);
    this.isRestored = !!original && !template && !this.shadowRoot && !this.firstElementChild;
    const content = this.isRestored ? original?.cloneNode(true) : template?.content;
    if (content) this.attachShadow({ mode: "open" }).append(content); // the parser did not do it
    template?.remove(); // it is empty now, also in a copy of this element
    this.root = this.shadowRoot ?? this;
    for (const other of this.root.querySelectorAll("noscript")) other.remove(); // a parser may have made elements of it
    for (const link of this.root.querySelectorAll("link")) link.media = ""; // until now, the page did not wait for it
    if (!this.shadowRoot || this.isRestored) return;
    keep(this, this.shadowRoot);
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
