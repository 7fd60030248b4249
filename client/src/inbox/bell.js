import { Part } from "./elements.js";

/** A button with a badge, and the panel that it opens. */
export class Bell extends Part {
  /** @override */
  begin() {
    const panel = this.find("#panel");
    panel.ontoggle = () => {
      if (!panel.matches(":popover-open")) return;
      const { bottom, left, right } = this.find("button").getBoundingClientRect();
      const { offsetWidth: width, style } = panel;
      const start = this.matches(":dir(rtl)") ? left : right - width;
      style.left = `${Math.max(8, Math.min(start, innerWidth - width - 8))}px`;
      style.top = `${bottom + 8}px`;
      this.find("livepush-list").refresh(0);
    };
  }
}
