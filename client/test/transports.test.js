import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout } from "node:timers";
import { WebSocketServer } from "ws";
import { longpoll, poll } from "../src/transports/polling.js";
import { sse } from "../src/transports/sse.js";
import { websocket } from "../src/transports/websocket.js";
import { collect, event, serve } from "./helpers.js";

const HELLO = {
  type: "livepush.hello",
  protocol: 1,
  id: "a-5",
  position: "a-5",
  heartbeat: 15,
  retry: 2000,
  groups: ["board"],
  refused: [],
};

const answer = (events, position, more = {}) =>
  JSON.stringify({ events, position, reset: false, refused: [], ...more });

/** A server that gives each poll the next of its answers, then 403, and notes what it was asked. */
async function pollServer(...answers) {
  const asked = [];
  const { base } = await serve((request, response) => {
    asked.push(request.url);
    const body = answers.shift();
    response.writeHead(body ? 200 : 403, { "content-type": "application/json" }).end(body);
  });
  return { base, asked };
}

/** A server of livepush.v1 that plays what it is given to each client. */
async function socketServer(play) {
  const asked = [];
  const { server, base } = await serve((_request, response) => response.writeHead(404).end());
  const sockets = new WebSocketServer({ server, handleProtocols: (offered) => [...offered][0] });
  sockets.on("connection", (socket, request) => {
    asked.push(request.url, socket.protocol);
    play(socket);
  });
  return { base, asked };
}

test("SSE: hello, events and heartbeats come through, and the end of the stream is a loss", async () => {
  const asked = [];
  let beat = () => {};
  const { base } = await serve(async (request, response) => {
    asked.push(request.url);
    response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
    const hello = `id: a-5\nretry: 2000\ndata: ${JSON.stringify(HELLO)}\n\n`;
    for (const piece of [hello, ":\n", `id: a-6\ndata: ${JSON.stringify(event("a-6"))}`, "\n\n"]) {
      const isHeard = new Promise((resolve) => {
        beat = resolve;
      });
      response.write(piece);
      await isHeard;
    }
    response.end();
  });
  const wanted = { base, since: "a-5", groups: ["board", "order:7"] };
  const { said, beats, ending } = await collect(sse, wanted, undefined, () => beat());
  assert.deepEqual(asked, ["/livepush/sse/?format=envelope&group=board&group=order%3A7&since=a-5"]);
  assert.deepEqual(said, [HELLO, event("a-6")]);
  assert.equal(beats, 4);
  assert.deepEqual(ending, { kind: "lost", reason: "ended", retry: 0 });
});

test("SSE: closing ends the request", async () => {
  let ended;
  const gone = new Promise((resolve) => {
    ended = resolve;
  });
  const { base } = await serve((request, response) => {
    request.on("close", ended);
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(`data: ${JSON.stringify(HELLO)}\n\n`);
  });
  await collect(sse, { base }, (said) => said.length === 1);
  await gone;
});

test("SSE: a page in place of the stream means that the stream does not get through", async () => {
  const { base } = await serve((_request, response) => {
    response.writeHead(200, { "content-type": "text/html" }).end("<h1>Log in to this network</h1>");
  });
  const { ending } = await collect(sse, { base });
  assert.deepEqual(ending, { kind: "next", reason: "no stream", retry: 0 });
});

test("SSE: what is no envelope is a loss", async () => {
  const { base } = await serve((_request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("data: {\n\n");
  });
  const { said, ending } = await collect(sse, { base });
  assert.deepEqual(said, []);
  assert.equal(ending.kind, "lost");
  assert.match(ending.reason, /^SyntaxError/);
});

test("HTTP: each status is a loss, a refusal or a transport that does not get through", async () => {
  let status;
  const { base } = await serve((_request, response) => response.writeHead(status).end());
  const expected = {
    lost: [408, 429, 500, 502, 503, 504],
    next: [404, 405, 426, 501],
    denied: [204, 400, 401, 403],
  };
  for (const [kind, statuses] of Object.entries(expected)) {
    for (status of statuses) {
      for (const transport of [sse, longpoll, poll]) {
        assert.deepEqual((await collect(transport, { base })).ending, { kind, reason: `${status}`, retry: 0 });
      }
    }
  }
});

test("HTTP: Retry-After is honoured in seconds and as a date, within five minutes", async () => {
  let after;
  const { base } = await serve((_request, response) => response.writeHead(503, { "retry-after": after }).end());
  const retry = async (value) => {
    after = value;
    return (await collect(sse, { base })).ending.retry;
  };
  assert.equal(await retry("7"), 7000);
  assert.equal(await retry("86400"), 300_000);
  assert.equal(await retry("soon"), 0);
  assert.equal(await retry("Fri, 31 Jan 2020 12:00:00 GMT"), 0);
  const soon = await retry(new Date(Date.now() + 60_000).toUTCString());
  assert.ok(soon > 58_000 && soon <= 60_000, `${soon}`);
});

test("HTTP: a server that is not there is a loss", async () => {
  const { ending } = await collect(sse, { base: "http://127.0.0.1:1/" });
  assert.deepEqual([ending.kind, ending.retry], ["lost", 0]);
});

test("WebSocket: single envelopes and arrays come through, over livepush.v1", async () => {
  const { base, asked } = await socketServer((socket) => {
    socket.send(JSON.stringify(HELLO));
    socket.send(JSON.stringify(event("a-6")));
    socket.send(JSON.stringify([event("a-7"), event("a-8", { data: [1] })]));
  });
  const { said } = await collect(websocket, { base, since: "a-5" }, (all) => all.length === 4);
  assert.deepEqual(asked, ["/livepush/ws/?group=board&since=a-5", "livepush.v1"]);
  assert.deepEqual(said, [HELLO, event("a-6"), event("a-7"), event("a-8", { data: [1] })]);
});

test("WebSocket: each close code is a loss or a refusal", async () => {
  let code;
  const { base } = await socketServer((socket) => socket.close(code));
  const expected = { lost: [1000, 1001, 1009, 1011, 1013], denied: [4400, 4401, 4403] };
  for (const [kind, codes] of Object.entries(expected)) {
    for (code of codes) {
      assert.deepEqual((await collect(websocket, { base })).ending, {
        kind,
        reason: `${code}`,
        retry: 0,
      });
    }
  }
});

test("WebSocket: a handshake that fails is a loss, for browsers don't say why", async () => {
  const { base } = await serve((_request, response) => response.writeHead(404).end());
  const { ending } = await collect(websocket, { base });
  assert.deepEqual(ending, { kind: "lost", reason: "1006", retry: 0 });
});

test("WebSocket: what is no envelope is a loss", async () => {
  const { base } = await socketServer((socket) => socket.send("{"));
  assert.equal((await collect(websocket, { base })).ending.kind, "lost");
});

test("poll: the first answer is the hello, and each goes on where the last ended", async () => {
  const { base, asked } = await pollServer(
    answer([event("a-6")], "a-8", { refused: ["order:7"] }),
    answer([], "a-8", { refused: ["order:7"] }),
  );
  const { said, ending } = await collect(poll, { base, since: "a-5", groups: ["board", "order:7"] });
  assert.deepEqual(said, [
    { type: "livepush.hello", position: "a-5", groups: ["board"], refused: ["order:7"], failed: undefined },
    event("a-6"),
    { type: "livepush.position", position: "a-8" },
    { type: "livepush.position", position: "a-8" },
  ]);
  assert.deepEqual(asked, [
    "/livepush/poll/?wait=0&group=board&group=order%3A7&since=a-5",
    "/livepush/poll/?wait=0&group=board&group=order%3A7&since=a-8",
    "/livepush/poll/?wait=0&group=board&group=order%3A7&since=a-8",
  ]);
  assert.equal(ending.kind, "denied");
});

test("poll: without a position the first answer gives it", async () => {
  const { base, asked } = await pollServer(answer([], "a-5"));
  const { said } = await collect(poll, { base });
  assert.deepEqual(said, [
    { type: "livepush.hello", position: "a-5", groups: ["board"], refused: [], failed: undefined },
    { type: "livepush.position", position: "a-5" },
  ]);
  assert.deepEqual(asked, ["/livepush/poll/?wait=0&group=board", "/livepush/poll/?wait=0&group=board&since=a-5"]);
});

test("poll: a reset and a right that ended are said as a stream says them", async () => {
  const { base } = await pollServer(
    answer([], "a-5"),
    answer([], "b-2", { reset: true, refused: ["order:7"], reason: "logout" }),
    answer([], "b-2", { refused: ["order:7"] }),
  );
  const { said } = await collect(poll, { base, since: "a-5", groups: ["board", "order:7"] });
  assert.deepEqual(said, [
    { type: "livepush.hello", position: "a-5", groups: ["board", "order:7"], refused: [], failed: undefined },
    { type: "livepush.position", position: "a-5" },
    { type: "livepush.revoked", groups: ["order:7"], reason: "logout" },
    { type: "livepush.reset", position: "b-2", reason: "poll" },
    { type: "livepush.position", position: "b-2" },
    { type: "livepush.position", position: "b-2" },
  ]);
});

test("poll: while the rule of a group fails each answer is a hello, and the next comes no sooner", async () => {
  const fails = { refused: ["order:7"], failed: ["order:7"] };
  const { base, asked } = await pollServer(
    answer([], "a-5"),
    answer([event("a-7")], "a-5", fails),
    answer([event("a-6", { groups: ["order:7"] }), event("a-7")], "a-7"),
  );
  const { said, waits } = await collect(longpoll, { base, since: "a-5", groups: ["board", "order:7"] });
  const hello = { type: "livepush.hello", position: "a-5" };
  assert.deepEqual(
    said.filter(({ type }) => type !== "livepush.position"),
    [
      { ...hello, groups: ["board", "order:7"], refused: [], failed: undefined },
      { ...hello, groups: ["board"], ...fails },
      event("a-7"),
      { ...hello, groups: ["board", "order:7"], refused: [], failed: undefined },
      event("a-6", { groups: ["order:7"] }),
      event("a-7"),
    ],
  );
  assert.deepEqual(
    asked.map((each) => /wait=\d+/.exec(each)[0]),
    ["wait=1", "wait=25", "wait=1", "wait=25"],
  );
  assert.deepEqual(
    waits.filter((each) => each < 10_000),
    [2000, 2000],
  );
});

test("poll: waits between answers, but not when more may be behind a full one", async () => {
  const full = Array.from({ length: 100 }, (_, index) => event(`a-${index + 1}`));
  const { base } = await pollServer(answer(full, "a-100"), answer([], "a-100"));
  const { waits } = await collect(poll, { base, since: "a-0" });
  assert.deepEqual(waits, [10_000, 10_000, 2000, 10_000]);
});

test("long poll: the first wait is short, so that it soon counts as open", async () => {
  const { base, asked } = await pollServer(answer([event("a-6")], "a-6"), answer([event("a-7")], "a-7"));
  await collect(longpoll, { base, since: "a-5" });
  assert.deepEqual(asked, [
    "/livepush/poll/?wait=1&group=board&since=a-5",
    "/livepush/poll/?wait=25&group=board&since=a-6",
    "/livepush/poll/?wait=25&group=board&since=a-7",
  ]);
});

test("long poll: a server that does not hold its answers is left alone between them", async () => {
  const { base } = await pollServer(answer([], "a-5"), answer([], "a-5"), answer([event("a-6")], "a-6"));
  const { waits } = await collect(longpoll, { base, since: "a-5" });
  assert.deepEqual(waits, [11_000, 2000, 35_000, 2000, 35_000, 35_000]);
});

test("poll: an answer that never comes is a loss", async () => {
  const { base } = await serve(() => {});
  const { ending } = await collect(poll, { base });
  assert.equal(ending.kind, "lost");
  assert.match(ending.reason, /AbortError/);
});

test("poll: closing ends the request and asks no more", async () => {
  const { base, asked } = await pollServer(answer([], "a-5"), answer([], "a-5"), answer([], "a-5"));
  await collect(poll, { base }, (said) => said.length === 2);
  await new Promise((resolve) => setTimeout(resolve, 400));
  assert.equal(asked.length, 1);
});
