import assert from "node:assert/strict";
import { test } from "node:test";
import { event, play } from "./helpers.js";

const RUNS = 300;
const GROUPS = ["a", "b", "c"];

/** Numbers between 0 and 1 that are the same for the same seed (a linear congruential generator). */
function random(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const idOf = (number) => `a-${number}`;
const numberOf = (id) => Number(id.slice(2));

/** A log, a client of it, connections that bring events bit by bit, and what each group is owed. */
class Course {
  constructor(seed) {
    this.next = random(seed);
    for (let _ = 0; _ < 5; _++) this.next();
    this.log = [];
    this.cursors = new Map();
    this.course = [`seed ${seed}`];
    this.terms = new Map([["a", { since: 0, got: [] }]]);
    Object.assign(this, play({ groups: ["a"], position: idOf(0) }));
    this.target.addEventListener("livepush:event", ({ detail: { id, group, groups = [group] } }) => {
      for (const each of groups) this.terms.get(each).got.push(numberOf(id)); // fails for one that nobody wants
    });
    this.client.start();
  }

  pick(list) {
    return list[Math.floor(this.next() * list.length)];
  }

  send() {
    const groups = GROUPS.filter(() => this.next() < 0.5);
    this.log.push(groups.length ? groups : [this.pick(GROUPS)]);
    this.course.push(`send ${this.log.length} to ${this.log.at(-1)}`);
  }

  add() {
    const group = this.pick(GROUPS);
    const since = Math.floor(this.next() * (this.log.length + 1));
    const wasThere = this.terms.has(group);
    this.course.push(`add ${group} after ${since}`);
    this.terms.set(group, { since, got: [], wasThere });
    this.client.add([group], idOf(since));
  }

  remove() {
    const group = this.pick(GROUPS);
    this.course.push(`remove ${group}`);
    this.terms.delete(group);
    this.client.remove([group]);
  }

  bring(attempt, most) {
    const begun = this.cursors.get(attempt);
    if (begun === undefined) {
      const cursor = attempt.since ? numberOf(attempt.since) : this.log.length;
      this.cursors.set(attempt, cursor);
      this.course.push(`hello for ${attempt.groups} after ${cursor}`);
      attempt.hello({ position: idOf(cursor), groups: attempt.groups });
      return;
    }
    for (let cursor = begun; cursor < Math.min(this.log.length, begun + most) && !attempt.closed; cursor++) {
      const groups = attempt.groups.filter((group) => this.log[cursor].includes(group));
      this.cursors.set(attempt, cursor + 1);
      this.course.push(`bring ${cursor + 1} to ${groups}`);
      if (groups.length) attempt.says(event(idOf(cursor + 1), { groups }));
    }
  }

  act() {
    const open = this.attempts.filter(({ closed }) => !closed);
    const chance = this.next();
    if (chance < 0.3) this.send();
    else if (chance < 0.5) this.add();
    else if (chance < 0.6) this.remove();
    else if (chance < 0.85 && open.length) this.bring(this.pick(open), 1 + Math.floor(3 * this.next()));
    else if (chance < 0.93 && open.length) this.pick(open).end({ kind: "lost", reason: "cut", retry: 0 });
    else this.clock.advance(this.pick([100, 1000, 40_000]));
  }

  /** Bring everything, and compare what each group was told since it was last asked for with what it was owed. */
  check() {
    for (let round = 0; round < 20; round++) {
      for (const attempt of [...this.attempts, ...this.attempts]) if (!attempt.closed) this.bring(attempt, 1000);
      this.clock.advance(3000);
    }
    for (const [group, { since, got, wasThere }] of this.terms) {
      const all = this.log.flatMap((groups, at) => (groups.includes(group) ? [at + 1] : []));
      // one that was there may have been on its way to where it is asked from
      const told = wasThere ? got.filter((number) => number > since) : got;
      assert.deepEqual(
        told,
        all.filter((number) => number > since),
        `${group}\n${this.course.join("\n")}`,
      );
    }
    this.client.stop();
  }
}

test("whatever is added, removed and cut, each group is told once and in order what it is owed", () => {
  for (let seed = 1; seed <= RUNS; seed++) {
    const course = new Course(seed * 7919);
    for (let _ = 0; _ < 30; _++) course.act();
    course.check();
  }
});
