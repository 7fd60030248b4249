/**
 * A name by which an element and its successor know each other.
 *
 * @param {any} element
 */
const nameOf = ({ dataset: { key, f }, localName, name, part }) => `${localName} ${key ?? f ?? `${name} ${part}`}`;

/** @param {Element} element */
const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.nodeValue?.trim());

/**
 * Make an element like another one. What both have stays the same node: it keeps the focus, the pointer and its place, and
 * what was opened stays open.
 *
 * @param {any} old
 * @param {any} fresh
 */
export const morph = (old, fresh) => {
  for (const name of old.getAttributeNames())
    if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes)
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  if (old.isEqualNode(fresh)) return;
  if (hasText(old) || hasText(fresh)) return old.replaceChildren(...fresh.childNodes);
  const had = new Map([...old.children].map((child) => [nameOf(child), child]));
  const wanted = [...fresh.children].map((child) => {
    const name = nameOf(child);
    const same = had.get(name);
    had.delete(name);
    if (same) morph(same, child);
    return same ?? child;
  });
  for (const child of [...old.children]) if (!wanted.includes(child)) child.remove();
  wanted.forEach((child, place) => {
    if (old.children[place] !== child) old.insertBefore(child, old.children[place]);
  });
};
