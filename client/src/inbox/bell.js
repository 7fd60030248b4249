import { Part } from "./elements.js";

/** A button with a badge, and the panel that it opens. */
export class Bell extends Part {
  begin() {
    const panel = this.find("#panel");
    const button = this.find("button");
    panel.ontoggle = (/** @type {ToggleEvent} */ { newState }) => {
      if (newState !== "open") {
        if (panel.contains(this.root.activeElement)) button.focus(); // Chromium does not do this within a shadow tree
        return;
      }
      const { bottom, right } = button.getBoundingClientRect();
      const { offsetWidth: width, style } = panel;
      style.left = `${Math.max(8, Math.min(right, innerWidth - 8) - width)}px`;
      style.top = `${bottom + 8}px`;
      this.find("livepush-list").refresh(0);
    };
  }
}
