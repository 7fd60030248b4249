import assert from "node:assert/strict";
import { test } from "node:test";
import { fake } from "./helpers.js";

/** As much of an element as the tag uses. */
const element = () => {
  const made = {
    dataset: {},
    attributes: {},
    inside: [],
    setAttribute: (name, value) => {
      made.attributes[name] = `${value}`;
    },
    append: (...more) => made.inside.push(...more),
    replaceChildren(...inside) {
      made.inside = inside;
    },
    replaceWith: (other) => {
      made.other = other;
    },
  };
  return made;
};

/** Return what a list of members shows: each member's title and initials. */
const shown = ({ inside }) => inside.map(({ title, inside: [face] }) => [title, face.inside.join("")]);

test("a name that is no text is shown as text, initials stand in for a picture that does not come, and nobody hears them", async () => {
  const parts = [element(), element(), element()];
  let Tag;
  let asked = 0;
  const member = (id, info) => ({ id, info, state: {}, connections: 1, since: null });
  const members = [
    member("1", { name: null }),
    member("2", { name: 7 }),
    member("3", {}),
    member("4", { name: "A B" }),
    member("5", { name: "C", avatar: "/gone.png" }),
  ];
  fake(globalThis, {
    window: { livepush: { position: "a-0", add() {}, remove() {} } },
    document: Object.assign(new EventTarget(), {
      querySelector: () => ({ dataset: { url: "/livepush/" } }),
      createElement: element,
    }),
    HTMLElement: class {
      dataset = { group: "room:1", max: 8 };
      children = parts;
    },
    customElements: {
      define(_name, tag) {
        Tag = tag;
      },
    },
    fetch: async () => {
      asked += 1;
      return new Response(JSON.stringify({ position: "a-1", members }));
    },
  });
  await import("../src/presence/main.js");
  const tag = new Tag();
  tag.connectedCallback();
  while (!parts[0].inside.length) await new Promise((done) => setTimeout(done));
  tag.disconnectedCallback();
  assert.deepEqual(shown(parts[0]), [
    ["", "?"],
    ["7", "7"],
    ["", "?"],
    ["A B", "AB"],
    ["C", ""],
  ]);
  const [picture] = parts[0].inside[4].inside;
  picture.onerror();
  assert.deepEqual([picture.src, picture.other.inside.join("")], ["/gone.png", "C"]);
  assert.deepEqual(
    [...parts[0].inside.map(({ inside: [face] }) => face), picture.other].map(
      (face) => face.attributes["aria-hidden"],
    ),
    Array(6).fill("true"),
  );
  assert.equal(asked, 1);
});
