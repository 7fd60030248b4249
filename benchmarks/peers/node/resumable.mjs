// Streams of npm's resumable-stream: the same tokens as benchmarks/stream_server.py, each the time at which it was made.
// /first/ answers with a new stream; /start/ begins streams that /resume/ answers with, over Valkey.
import { createServer } from "node:http";
import { createResumableStreamContext } from "resumable-stream";
import { broker } from "./broker.mjs";

const publisher = broker();
const subscriber = publisher.duplicate();
subscriber.on("error", console.error);
await Promise.all([publisher.connect(), subscriber.connect()]);
const context = createResumableStreamContext({ waitUntil: null, publisher, subscriber, keyPrefix: "bench" });

let begin;
const begun = new Promise((resolve) => (begin = resolve));
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
let count = 0;

/** Returns a stream of so many times of making, one every `pause` seconds by the clock. */
const tokens = (query) => {
  const [number, pause] = [Number(query.get("tokens")), 1000 * Number(query.get("pause"))];
  const source = async function* () {
    await begun;
    const start = performance.now() + (pause * (count++ % 97)) / 97; // not all at once
    for (let i = 0; i < number; i += 1) {
      await sleep(Math.max(0, start + i * pause - performance.now()));
      yield `data: ["${((performance.timeOrigin + performance.now()) / 1000).toFixed(6)} "]\n\n`;
    }
  };
  const iterator = source();
  return new ReadableStream({
    pull: async (controller) => {
      const { done, value } = await iterator.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
  });
};

const send = async (response, stream) => {
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.write(":\n");
  for await (const chunk of stream) response.write(chunk);
  response.end();
};

const ended = async (stream) => {
  for await (const _ of stream);
};

createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, "http://localhost");
  const answer = (body) => response.end(JSON.stringify(body));
  const id = `${Math.random()}`;
  if (pathname === "/first/") await send(response, await context.createNewResumableStream(id, () => tokens(searchParams)));
  else if (pathname.startsWith("/resume/")) await send(response, await context.resumeExistingStream(pathname.split("/")[2]));
  else if (pathname === "/start/") {
    const ids = Array.from({ length: Number(searchParams.get("count")) }, (_, i) => `${id}-${i}`);
    for (const each of ids) ended(await context.createNewResumableStream(each, () => tokens(searchParams)));
    answer(ids);
  } else if (pathname === "/begin/") {
    begin();
    answer({});
  } else if (pathname === "/cost/") {
    const { user, system } = process.cpuUsage();
    answer({ cpu: (user + system) / 1e6, statements: 0 });
  } else answer({});
}).listen(Number(process.env.BENCH_PORT), "127.0.0.1");
