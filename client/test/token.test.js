import assert from "node:assert/strict";
import { test } from "node:test";
import { WebSocketServer } from "ws";
import { LivepushClient } from "../src/index.js";
import { longpoll } from "../src/transports/polling.js";
import { sse } from "../src/transports/sse.js";
import { websocket } from "../src/transports/websocket.js";
import { event, serve } from "./helpers.js";

const hello = (position) => ({
  type: "livepush.hello",
  position,
  heartbeat: 15,
  retry: 2000,
  groups: ["board"],
  refused: [],
});
const frame = (envelope) => `data: ${JSON.stringify(envelope)}\n\n`;

/** A client of a server over one transport, with a new token each time; and a promise of what it hears of a type. */
const start = (base, transports, more) => {
  const target = new EventTarget();
  let made = 0;
  const getToken = async () => `livepush_${++made}`;
  const client = new LivepushClient({ url: base, groups: ["board"], target, transports, getToken, ...more });
  const heard = (name) =>
    new Promise((resolve) => target.addEventListener(name, ({ detail }) => resolve(detail), { once: true }));
  return { client, heard };
};

test("a token that has ended or is refused is replaced, and nothing is missed", async () => {
  const asked = [];
  const { base } = await serve((request, response) => {
    asked.push([request.headers.authorization, new URL(request.url, "http://x").searchParams.get("since")]);
    if (asked.length === 1) return response.writeHead(401).end();
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(frame(hello("a-5")));
    if (asked.length === 2) {
      response.write(frame(event("a-6")));
      response.write(frame({ type: "livepush.revoked", groups: ["board"], reason: "token" }));
    } else response.write(frame(event("a-7", { type: "last" })));
  });
  const { client, heard } = start(`${base}/livepush/`, { sse }, { position: "a-5" });
  const last = heard("livepush:event:last");
  client.start();
  assert.equal((await last).id, "a-7");
  assert.deepEqual(asked, [
    ["Bearer livepush_1", "a-5"],
    ["Bearer livepush_2", "a-5"],
    ["Bearer livepush_3", "a-6"],
  ]);
  assert.deepEqual(client.groups, ["board"]);
  client.stop();
});

test("a right that ended for another reason is told, and ends in denied", async () => {
  const { base } = await serve((_request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(frame(hello("a-5")));
    response.write(frame({ type: "livepush.revoked", groups: ["board"], reason: "permission" }));
  });
  const { client, heard } = start(`${base}/livepush/`, { sse });
  const revoked = heard("livepush:revoked");
  client.start();
  assert.deepEqual(await revoked, { groups: ["board"], reason: "permission" });
  assert.equal(client.state, "denied");
});

test("a token that ends in a held poll is replaced, and nothing is missed or taken away", async () => {
  const said = [
    (response) => response.writeHead(401).end('{"code":"token_ended"}'),
    (response) => response.end(JSON.stringify({ ...empty, refused: ["board"], reason: "token" })),
    (response) => response.end(JSON.stringify({ ...empty, reason: "token" })),
  ];
  const empty = { events: [], position: "a-5", reset: false, refused: [] };
  for (const sayEnd of said) {
    const asked = [];
    const { base } = await serve((request, response) => {
      asked.push(request.headers.authorization);
      if (asked.length === 2) return sayEnd(response);
      const events = asked.length > 3 ? [event("a-6", { type: "last" })] : [];
      response.end(JSON.stringify({ ...empty, events, position: events.length ? "a-6" : "a-5" }));
    });
    const { client, heard } = start(`${base}/livepush/`, { longpoll }, { position: "a-5" });
    const last = heard("livepush:event:last");
    let revoked = false;
    heard("livepush:revoked").then(() => {
      revoked = true;
    });
    client.start();
    await last;
    assert.deepEqual(
      asked.map((each) => each.at(-1)),
      ["1", "1", "2", "2"],
    );
    assert.equal(revoked, false);
    client.stop();
  }
});

test("polls bring it as a header, and WebSockets as a subprotocol", async () => {
  const asked = [];
  const { server, base } = await serve((request, response) => {
    asked.push(request.headers.authorization);
    response
      .writeHead(200, { "content-type": "application/json" })
      .end(JSON.stringify({ events: [event("a-6")], position: "a-6", reset: false, refused: [] }));
  });
  const sockets = new WebSocketServer({ server, handleProtocols: (offered) => [...offered][0] });
  sockets.on("connection", (socket, request) => {
    asked.push(request.headers["sec-websocket-protocol"]);
    socket.send(JSON.stringify([hello("a-5"), event("a-6")]));
  });
  for (const transports of [{ longpoll }, { websocket }]) {
    const { client, heard } = start(`${base}/livepush/`, transports, { position: "a-5" });
    const came = heard("livepush:event");
    client.start();
    await came;
    client.stop();
  }
  assert.equal(asked[0], "Bearer livepush_1");
  assert.equal(asked.at(-1), "livepush.v1,livepush.token.livepush_1");
  sockets.close();
});

test("a function that fails is asked again later, and stopping before its answer connects nothing", async () => {
  const asked = [];
  const { base } = await serve((request, response) => {
    asked.push(request.headers.authorization);
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(frame(hello("a-5")));
  });
  let times = 0;
  const getToken = () => {
    times += 1;
    if (times === 1) throw new Error("offline");
    return "livepush_x";
  };
  const { client, heard } = start(`${base}/livepush/`, { sse }, { getToken });
  client.start();
  client.stop();
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(asked, []);
  const open = (async () => {
    for (;;) if ((await heard("livepush:state")).state === "open") return;
  })();
  client.start();
  await open;
  assert.deepEqual(asked, ["Bearer livepush_x"]);
  client.stop();
});
