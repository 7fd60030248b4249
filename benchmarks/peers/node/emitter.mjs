// Publishes the benchmark's events to Socket.IO's clients; commands and answers are those of publish.py.
import { createInterface } from "node:readline";
import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";
import { Emitter } from "@socket.io/redis-emitter";
import { broker } from "./broker.mjs";

const BYTES = 200;
const client = broker();
await client.connect();
const emitter = new Emitter(client);

let errors = 0;
process.on("unhandledRejection", (error) => {
  // the emitter does not wait for the broker's answer
  if (errors === 0) console.error(error);
  errors += 1;
});

function dataOf(number) {
  // Date.now() is up to a millisecond behind
  const now = Math.floor((performance.timeOrigin + performance.now()) * 1000);
  return { x: `@${number},${now};`.padEnd(BYTES - '{"x":""}'.length, "a") };
}

async function carryOut({ do: name, first, count = 1, rate }) {
  errors = 0;
  const took = [];
  const cpu = process.cpuUsage();
  const began = performance.now();
  for (let place = 0; place < count; place++) {
    const wait = name === "paced" ? began + (place * 1000) / rate - performance.now() : 0;
    if (wait > 0) await sleep(wait);
    const sendBegan = performance.now();
    emitter.to("board").emit("event", dataOf(first + place));
    took.push(performance.now() - sendBegan);
    await turn(); // what was sent leaves now
  }
  await client.ping(); // the broker has answered everything before it
  const seconds = (performance.now() - began) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  took.sort((one, other) => one - other);
  return {
    sent: count - errors,
    seconds,
    cpu: (user + system) / 1e6,
    p50_ms: took[Math.floor(count / 2)],
    p99_ms: took[Math.floor(count * 0.99)],
    errors,
  };
}

console.log("ready");
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await carryOut(JSON.parse(line))));
}
await client.close();
