import assert from "node:assert/strict";
import { test } from "node:test";
import { press } from "../src/list/keys.js";

test("a key is known by its place where the letters are not Latin ones", () => {
  const pressed = [];
  const entry = { querySelector: (selector) => ({ click: () => pressed.push(selector) }) };
  const target = { closest: () => entry, matches: () => false };
  const getModifierState = () => false;
  for (const [key, code] of [
    ["e", "KeyE"],
    ["E", "KeyE"],
    ["у", "KeyE"],
    ["ث", "KeyE"],
    ["ε", "KeyE"],
    ["г", "KeyU"],
    ["u", "KeyF"],
  ]) {
    assert.equal(press({ key, code, target, getModifierState }, [entry], null), true);
  }
  assert.deepEqual(pressed, [..."eeeee"].map(() => "[data-f=archive]").concat(Array(2).fill("[data-f=read]")));
  const toggled = [];
  const help = { toggleAttribute: (name) => toggled.push(name) };
  for (const key of ["?", "؟"])
    assert.equal(press({ key, code: "Slash", target, getModifierState }, [entry], help), true);
  assert.deepEqual(toggled, ["open", "open"]);
  for (const [key, code] of [
    ["ж", "Semicolon"],
    ["ä", "Quote"],
    ["ё", "Backquote"],
  ]) {
    assert.equal(press({ key, code, target, getModifierState }, [entry], null), false);
  }
});

test("a key that makes a sign together with AltGr is none of the list's", () => {
  const entry = { querySelector: () => assert.fail("it was pressed") };
  const target = { closest: () => entry, matches: () => false };
  const getModifierState = (name) => name === "AltGraph";
  for (const key of ["€", "ę", "e"]) {
    assert.equal(press({ key, code: "KeyE", target, getModifierState }, [entry], null), false);
  }
});
