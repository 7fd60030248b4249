/** A clock that a test moves, transports that a test plays, and servers of a few lines. */

import { once } from "node:events";
import { createServer } from "node:http";
import { after } from "node:test";
import { WebSocket } from "ws";
import { LivepushClient } from "../src/client.js";

/** A WebSocket as browsers have it: an error is told by the close alone. */
export class BrowserSocket extends WebSocket {
  constructor(...how) {
    super(...how);
    this.on("error", () => {});
  }
}

export class Clock {
  time = 1_000_000;
  #timers = new Map();
  #serial = 0;

  environment = {
    now: () => this.time,
    setTimeout: (task, milliseconds) => {
      this.#timers.set(++this.#serial, { task, due: this.time + milliseconds });
      return this.#serial;
    },
    clearTimeout: (timer) => this.#timers.delete(timer),
    random: () => 0.5,
    online: () => true,
  };

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

/** Transports whose every connection waits in `attempts` for the test to play the server. */
export function stage(names = ["first", "second", "third"]) {
  const attempts = [];
  const transport = (name) => (request, _io, sink) => {
    const attempt = { name, ...request, closed: false, heard: sink.heard, end: sink.end };
    attempt.says = (...envelopes) => sink.receive(envelopes);
    attempt.hello = (more = {}) =>
      attempt.says({
        type: "livepush.hello",
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

/** A started client on a stage, with what it dispatched in `log`. */
export function play({ names, ...options } = {}) {
  const clock = new Clock();
  const { attempts, transports, last } = stage(names);
  const target = new EventTarget();
  const log = record(target);
  const reported = [];
  const client = new LivepushClient({
    url: "/livepush/",
    groups: ["board"],
    target,
    transports,
    ...clock.environment,
    report: (error) => reported.push(error),
    ...options,
  });
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

/** An event as it comes over the wire. */
export function event(id, { group = "board", type = "note", data = null } = {}) {
  return { ...(id && { id }), group, type, data, time: "2026-01-31T12:00:00.000000Z" };
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

/**
 * Use a transport against a server; collect what it reports until it ends or `until` says so, and the waits that it
 * asked for, which pass a hundred times faster.
 */
export function collect(transport, { base, since = null, groups = ["board"] }, until = () => false) {
  return new Promise((resolve) => {
    const said = [];
    const waits = [];
    let beats = 0;
    let shut = () => {};
    const done = (ending) => {
      shut();
      resolve({ said, beats, waits, ending });
    };
    const io = {
      base,
      WebSocket: BrowserSocket,
      fetch: (...request) => fetch(...request),
      setTimeout: (task, milliseconds) => {
        waits.push(milliseconds);
        return setTimeout(task, milliseconds / 100).unref();
      },
      clearTimeout: (timer) => clearTimeout(timer),
      now: Date.now,
      random: () => 0.5,
    };
    shut = transport({ url: "/livepush/", groups, since }, io, {
      heard: () => {
        beats += 1;
      },
      receive: (envelopes) => {
        said.push(...envelopes);
        if (until(said)) done(undefined);
      },
      end: done,
    });
  });
}
