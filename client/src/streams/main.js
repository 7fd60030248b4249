import { Stream } from "./stream.js";

/**
 * `<livepush-stream src="…">` shows the text of a stream as it comes. What it has inside is the text up to `data-after`.
 *
 * It dispatches `livepush:part` for each part, with the stream and the part as `detail`. A page that renders by itself,
 * Markdown for example, prevents the default. `livepush:stream` says that its state has changed.
 */
class StreamElement extends HTMLElement {
  static observedAttributes = ["src", "data-after", "state"];

  /** Begin anew where a library that morphs the page has put another text, or another stream, into the element. */
  attributeChangedCallback(/** @type {string} */ name) {
    if (!this.stream) return;
    if (name === "state") {
      // what a late answer of the server says of it is old
      if (this.getAttribute(name) !== this.shown) this.setAttribute(name, this.shown ?? "");
      return;
    }
    if (this.src === this.getAttribute("src") && this.stream.offset === +(this.dataset.after ?? 0)) return;
    this.stream = undefined;
    this.controller?.abort();
    queueMicrotask(() => this.stream || !this.isConnected || this.connectedCallback()); // once the text is there too
  }

  async connectedCallback() {
    this.controller = new AbortController();
    const { signal } = this.controller;
    this.src = this.getAttribute("src");
    const stream = new Stream(this.src ?? "", { after: +(this.dataset.after ?? 0), signal });
    stream.text = this.stream?.text ?? this.textContent ?? "";
    this.stream = stream;
    /** @param {string} state */
    const show = (state) => {
      this.shown = state;
      this.setAttribute("state", state);
      this.setAttribute("aria-busy", `${state === "running"}`); // Firefox knows the property since 119
      this.dispatchEvent(new CustomEvent("livepush:stream", { detail: { state, stream } }));
    };
    show("running");
    try {
      for await (const part of stream) {
        signal.throwIfAborted();
        this.dataset.after = String(part.offset); // first, since a listener may move the element
        const detail = { stream, part };
        if (this.dispatchEvent(new CustomEvent("livepush:part", { detail, bubbles: true, cancelable: true }))) {
          this.append(part.text ?? "");
          this.normalize();
        }
        if (stream.progress != null) this.setAttribute("progress", String(stream.progress));
      }
      show(stream.state);
    } catch {
      if (!signal.aborted) show("refused");
    }
  }

  disconnectedCallback() {
    this.controller?.abort();
  }
}

/** @param {string} id @param {ConstructorParameters<typeof Stream>[1]} [options] */
const stream = (id, options) => new Stream(id, options);
const install = () => {
  const page = /** @type {any} */ (window);
  page.livepush ??= {};
  page.livepush.stream = stream;
};
install();
document.addEventListener("DOMContentLoaded", install); // the page's client may have come after this script
if (!customElements.get("livepush-stream")) customElements.define("livepush-stream", StreamElement);
