/** @param {any} entry */
export const focusOn = (entry) => entry?.querySelector("[data-f=title]").focus();

/** Return what has the focus in the list's tree. @param {any} root */
export const focusedIn = (root) => root.getRootNode().activeElement;

/** Return whether something in the list has the focus and can keep it. @param {any} root */
const isFocused = (root) => {
  const active = focusedIn(root);
  return root.contains(active) && !active.closest("[hidden],[inert]");
};

/**
 * Do something that may take away what has the focus. If it does, the current tab has it.
 *
 * @param {any} root
 * @param {() => void} work
 */
export const keepFocus = (root, work) => {
  const had = isFocused(root);
  work();
  if (had && !isFocused(root)) root.querySelector("[aria-current=page]")?.focus({ preventScroll: true });
};
