/** A clock that a test moves, transports that a test plays, and servers of a few lines. */

import { once } from "node:events";
import { createServer } from "node:http";
import { after, afterEach } from "node:test";
import { clearTimeout as realClearTimeout, setTimeout as realSetTimeout } from "node:timers";
import { WebSocket } from "ws";
import { createClient } from "../src/client.js";
import * as fallback from "../src/fallback.js";

/** What was in the place of each fake. */
const originals = [];

/** Put fakes in place of what an object has, until the test is over. */
export function fake(object, fakes) {
  for (const [name, value] of Object.entries(fakes)) {
    originals.push([object, name, Object.getOwnPropertyDescriptor(object, name)]);
    Object.defineProperty(object, name, { value, configurable: true, writable: true });
  }
}

afterEach(() => {
  for (const [object, name, original] of originals.splice(0).reverse()) {
    if (original) Object.defineProperty(object, name, original);
    else delete object[name];
  }
});

/** A WebSocket as browsers have it: an error is told by the close alone. */
class BrowserSocket extends WebSocket {
  constructor(...how) {
    super(...how);
    this.on("error", () => {});
  }
}

// What browsers have and Node may lack; without channels between tabs each is alone.
for (const [name, value] of Object.entries({
  location: new URL("https://shop.example/page"),
  navigator: { onLine: true },
  WebSocket: BrowserSocket,
  BroadcastChannel: undefined,
})) {
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
}

export class Clock {
  time = 1_000_000;
  #timers = new Map();
  #serial = 0;

  constructor(random = () => 0.5) {
    this.random = random;
  }

  /** Be the time of everything until the test is over. */
  install() {
    fake(Date, { now: () => this.time });
    fake(Math, { random: this.random });
    fake(globalThis, {
      setTimeout: (task, milliseconds) => {
        this.#timers.set(++this.#serial, { task, due: this.time + milliseconds });
        return this.#serial;
      },
      clearTimeout: (timer) => this.#timers.delete(timer),
    });
  }

  get pending() {
    return this.#timers.size;
  }

  advance(milliseconds) {
    const end = this.time + milliseconds;
    for (;;) {
      const [next] = [...this.#timers].filter(([, { due }]) => due <= end).sort(([, a], [, b]) => a.due - b.due);
      if (!next) break;
      const [serial, { task, due }] = next;
      this.#timers.delete(serial);
      this.time = Math.max(this.time, due);
      task();
    }
    this.time = end;
  }
}

/** Load the parts that few pages need, as a page's client loads them. */
export const load = async () => fallback;

/** Transports whose every connection waits in `attempts` for the test to play the server. */
export function stage(names = ["first", "second", "third"]) {
  const attempts = [];
  const transport = (name) => (request, receive, end, heard) => {
    const attempt = { name, ...request, closed: false, heard, end };
    attempt.says = (...envelopes) => receive(envelopes);
    attempt.hello = (more = {}) =>
      attempt.says({
        type: "livepush.hello",
        protocol: 1,
        position: request.since ?? "a-0",
        heartbeat: 15,
        groups: request.groups,
        refused: [],
        ...more,
      });
    attempts.push(attempt);
    return () => {
      attempt.closed = true;
    };
  };
  const transports = Object.fromEntries(names.map((name) => [name, transport(name)]));
  return { attempts, transports, last: () => attempts.at(-1) };
}

/** What tabs of one browser share: channels, storage, and locks where there are any; all is told in a later microtask. */
export class Profile {
  storage = {};
  #channels = new Set();
  #browser;
  #locks = new Map();

  /** `browser` has what is otherwise than usual: `locks`, `channel`, `storage`. */
  constructor(browser = {}) {
    this.#browser = browser;
  }

  /** A tab: what begins after `enter()` has its surroundings; `crash()` ends it without a word. */
  tab() {
    const own = new Set();
    const held = new Set();
    const locks = {
      request: (name, options, task) => this.#request(name, task ?? options, task ? options : {}, held),
    };
    const open = (name) => {
      const channel = {
        name,
        onmessage: null,
        postMessage: (message) => {
          const posted = structuredClone(message);
          for (const other of this.#channels) {
            if (other === channel || other.name !== name) continue;
            const hear = () => this.#channels.has(other) && other.onmessage?.({ data: structuredClone(posted) });
            queueMicrotask(() => other.tab.frozen || (other.tab.late ? other.tab.late.push(hear) : hear()));
          }
        },
        close: () => this.#channels.delete(channel),
        tab,
      };
      own.add(channel);
      this.#channels.add(channel);
      return channel;
    };
    const tab = {
      frozen: false,
      /** The messages to a busy tab, which hears them later; `undefined` while the tab is not busy. */
      late: undefined,
      enter: () => {
        function BroadcastChannel(name) {
          return open(name);
        }
        const browser = { locks, channel: BroadcastChannel, storage: this.storage, ...this.#browser };
        fake(navigator, { locks: browser.locks });
        fake(globalThis, {
          BroadcastChannel: browser.channel,
          localStorage: browser.storage,
          addEventListener() {},
          removeEventListener() {},
        });
      },
      crash: () => {
        for (const channel of own) channel.close();
        for (const release of held) release();
      },
    };
    return tab;
  }

  #request(name, task, { signal, steal }, held) {
    const lock = this.#locks.get(name) ?? { holder: null, queue: [] };
    this.#locks.set(name, lock);
    return new Promise((resolve, reject) => {
      const waiting = { grant: () => {}, reject };
      const release = () => {
        held.delete(release);
        lock.queue = lock.queue.filter((each) => each !== waiting);
        if (lock.holder !== waiting) return;
        lock.holder = null;
        next();
      };
      const next = () => {
        if (!lock.holder) lock.queue.shift()?.grant();
      };
      waiting.grant = () => {
        lock.holder = waiting;
        queueMicrotask(() => Promise.resolve(task({ name })).then(resolve, reject).finally(release));
      };
      held.add(release);
      signal?.addEventListener("abort", () => {
        if (lock.holder !== waiting) release();
        reject(signal.reason);
      });
      if (steal) {
        lock.holder?.reject(new DOMException("stolen", "AbortError"));
        waiting.grant();
      } else {
        lock.queue.push(waiting);
        next();
      }
    });
  }
}

/** Let everything that was posted be told. */
export async function told() {
  for (let round = 0; round < 50; round++) await null;
}

/** A client on a stage, with what it dispatched in `log`. */
export function play({ names, random, clock = new Clock(random), online = true, tab, ...options } = {}) {
  const { attempts, transports, last } = stage(names);
  const target = new EventTarget();
  const log = record(target);
  const reported = [];
  clock.install();
  tab?.enter();
  fake(navigator, { onLine: online });
  fake(globalThis, { reportError: (error) => reported.push(error) });
  const client = createClient({ url: "/livepush/", groups: ["board"], target, transports, load, ...options });
  return { client, clock, attempts, last, log, target, reported };
}

/** What a target dispatches: states, events, resets and revocations, in order. */
export function record(target) {
  const log = [];
  for (const name of ["state", "event", "reset", "revoked"]) {
    target.addEventListener(`livepush:${name}`, ({ detail }) => log.push([name, detail]));
  }
  return log;
}

/** An event as it comes over the wire: to a reader of `groups`, of which the first is named first. */
export function event(id, { groups = ["board"], type = "note", data = null } = {}) {
  const [group, ...others] = groups;
  const named = others.length ? { group, groups } : { group };
  return { ...(id && { id }), ...named, type, data, time: "2026-01-31T12:00:00.000000Z" };
}

/** Serve on a free port for the rest of the test file; return the address. */
export async function serve(handler) {
  const server = createServer(handler).listen(0, "127.0.0.1");
  await once(server, "listening");
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { server, base: `http://127.0.0.1:${server.address().port}/` };
}

/** Have the client's waits pass faster until the test is over; note how long each was to be. */
export function hurry(times) {
  const waits = [];
  fake(globalThis, {
    setTimeout: (task, milliseconds) => {
      const [, , caller] = new Error().stack.split("\n");
      if (!caller.includes("/client/src/")) return realSetTimeout(task, milliseconds); // fetch has timers too
      waits.push(milliseconds);
      return realSetTimeout(task, milliseconds / times);
    },
    clearTimeout: realClearTimeout,
  });
  return waits;
}

/**
 * Use a transport against a server; collect what it reports until it ends or `until` says so, and the waits that it
 * asked for, which pass ten times faster.
 */
export function collect(
  transport,
  { base, since = null, groups = ["board"] },
  until = () => false,
  beat = () => {},
) {
  return new Promise((resolve) => {
    const said = [];
    const waits = hurry(10);
    let beats = 0;
    let shut = () => {};
    const done = (ending) => {
      shut();
      resolve({ said, beats, waits, ending });
    };
    fake(Math, { random: () => 0.5 });
    const request = { url: `${base}livepush/`, groups, since };
    const receive = (envelopes) => {
      said.push(...envelopes);
      if (until(said)) done(undefined);
    };
    const heard = () => {
      beats += 1;
      beat();
    };
    shut = transport(request, receive, done, heard);
  });
}
