import { Part } from "./elements.js";

/** How many notifications were not seen. */
export class Badge extends Part {
  /** @param {string} text  empty for none */
  tell(text) {
    this.hidden = !text;
    this.find("b").textContent = text;
  }
}
