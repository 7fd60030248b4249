/** Reads a stream with a client of npm's, and prints what the client makes of it as JSON. */

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.env.LIVEPUSH_STREAM_CLIENTS}/package.json`);
const load = (name) => import(pathToFileURL(require.resolve(name)).href);

const [client, url, given] = process.argv.slice(2);

const clients = {
  /** The AI SDK's transport, with the parts of the message at its end. */
  async ai() {
    const { DefaultChatTransport, readUIMessageStream } = await load("ai");
    const transport = new DefaultChatTransport({ api: url });
    const messages = [{ id: "u1", role: "user", parts: [{ type: "text", text: given }] }];
    const stream = await transport.sendMessages({ chatId: "c", messages, trigger: "submit-message" });
    let message;
    const errors = [];
    const onError = (error) => errors.push(String(error.message ?? error));
    for await (const each of readUIMessageStream({ stream, onError, terminateOnError: false })) message = each;
    return { id: message.id, parts: message.parts, errors };
  },

  /** OpenAI's client. */
  async openai() {
    const { default: OpenAI } = await load("openai");
    const client = new OpenAI({ baseURL: url, apiKey: "none", maxRetries: 0 });
    const stream = await client.chat.completions.create({
      model: "lark-1",
      messages: [{ role: "user", content: given }],
      stream: true,
    });
    const found = { text: "", reasons: [], model: "", error: "" };
    try {
      for await (const chunk of stream) {
        found.model = chunk.model;
        found.text += chunk.choices[0].delta.content ?? "";
        if (chunk.choices[0].finish_reason) found.reasons.push(chunk.choices[0].finish_reason);
      }
    } catch (error) {
      found.error = error.message;
    }
    return found;
  },
};

console.log(JSON.stringify(await clients[client]()));
