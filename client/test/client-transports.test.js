/** The whole client over real connections, against a server that holds one log and can misbehave. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout } from "node:timers";
import { WebSocketServer } from "ws";
import { createClient } from "../src/client.js";
import { event, fake, hurry, load, serve } from "./helpers.js";

const LAST = 60;

/** Serve a log of events that grows, cutting each stream after a few of them. */
async function logServer({ streams = true } = {}) {
  let head = 0;
  const growing = setInterval(() => {
    head = Math.min(head + 1, LAST);
  }, 5);
  const behind = (url) => {
    const since = Number(url.searchParams.get("since").split("-")[1]);
    return Array.from({ length: head - since }, (_, index) => event(`a-${since + index + 1}`));
  };
  const hello = (url) => ({
    type: "livepush.hello",
    protocol: 1,
    position: url.searchParams.get("since"),
    heartbeat: 15,
    groups: ["board"],
    refused: [],
  });
  const stream = (url, write, cut) => {
    write(hello(url));
    setTimeout(() => {
      for (const one of behind(url)) write(one);
      setTimeout(cut, 10); // what arrives with the cut itself may be lost
    }, 30);
  };

  const { server, base } = await serve((request, response) => {
    const url = new URL(request.url, base);
    if (url.pathname.endsWith("/poll/")) {
      const events = behind(url);
      return response.end(JSON.stringify({ events, position: `a-${head}`, reset: false, refused: [] }));
    }
    if (!streams) return response.writeHead(501).end();
    response.writeHead(200, { "content-type": "text/event-stream" });
    stream(
      url,
      (envelope) => response.write(`data: ${JSON.stringify(envelope)}\n\n`),
      () => response.destroy(),
    );
  });
  if (streams) {
    new WebSocketServer({ server }).on("connection", (socket, request) => {
      stream(
        new URL(request.url, base),
        (envelope) => socket.send(JSON.stringify([envelope])),
        () => socket.terminate(),
      );
    });
  }
  return { base, close: () => clearInterval(growing) };
}

/** Receive the whole log; return the ids in the order they came and the transports that were open. */
async function receive(t, { base, close }, steer = () => {}) {
  const ids = [];
  const used = new Set();
  const target = new EventTarget();
  hurry(10);
  fake(Math, { random: () => 0 });
  const client = createClient({ url: `${base}livepush/`, groups: ["board"], position: "a-0", target, load });
  t.after(close);
  t.after(() => client.stop());
  target.addEventListener("livepush:state", ({ detail }) => {
    if (detail.state === "open") used.add(detail.transport);
  });
  await new Promise((resolve) => {
    client.on("*", (_data, { id }) => {
      ids.push(id);
      steer(client, ids.length);
      if (id === `a-${LAST}`) resolve();
    });
    client.start();
  });
  return { ids, used: [...used] };
}

const WHOLE_LOG = Array.from({ length: LAST }, (_, index) => `a-${index + 1}`);

test("every event comes once, in order, over a stream that is cut again and again", async (t) => {
  const { ids, used } = await receive(t, await logServer());
  assert.deepEqual(ids, WHOLE_LOG);
  assert.deepEqual(used, ["sse"]);
});

test("every event comes once, in order, through a switch to each transport in the middle of the log", async (t) => {
  const switches = { 10: "websocket", 20: "longpoll", 30: "poll", 40: "sse", 50: null };
  const { ids, used } = await receive(t, await logServer(), (client, count) => {
    if (count in switches) client.use(switches[count]);
  });
  assert.deepEqual(ids, WHOLE_LOG);
  assert.deepEqual(used.sort(), ["longpoll", "poll", "sse", "websocket"]);
});

test("on a server without streams the client comes to long polling by itself", async (t) => {
  const { ids, used } = await receive(t, await logServer({ streams: false }));
  assert.deepEqual(ids, WHOLE_LOG);
  assert.deepEqual(used, ["longpoll"]);
});
