import { Part } from "./elements.js";

/** The number of unseen notifications. */
export class Badge extends Part {
  /** @param {string} text  empty for none */
  tell(text) {
    this.hidden = !text;
    this.find("b").textContent = text;
  }
}
