// Pusher's client library, or Laravel Echo on it, under node: it does what the lines on stdin say, and prints what it gets.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(process.env.LIVEPUSH_NODE_CLIENTS + "/");
const Pusher = require("pusher-js");
const { kind, key, port, cookie, token } = JSON.parse(process.argv[2]);
const say = (found) => process.stdout.write(JSON.stringify(found) + "\n");
const base = `http://127.0.0.1:${port}/pusher`;
const headers = token ? { Authorization: `Bearer ${token}` } : {};
// A browser sends the cookie by itself. Under node the library can't, so this stands in for the browser.
const asBrowser = (endpoint) => ({ socketId, channelName }, callback) =>
    fetch(endpoint, {
        method: "POST", headers: { Cookie: cookie },
        body: new URLSearchParams({ socket_id: socketId, ...(channelName ? { channel_name: channelName } : {}) }),
    }).then(async (answer) =>
        answer.ok ? callback(null, await answer.json()) : callback(Object.assign(new Error(await answer.text()), { status: answer.status }), null));
const authorization = (endpoint) =>
    cookie ? { customHandler: asBrowser(endpoint) } : { endpoint, transport: "ajax", headers };
const options = {
    cluster: "livepush", wsHost: "127.0.0.1", wsPort: port, forceTLS: false, enabledTransports: ["ws"], enableStats: false,
    channelAuthorization: authorization(`${base}/auth`),
    userAuthentication: authorization(`${base}/user-auth`),
};
const Echo = (await import(`${process.env.LIVEPUSH_NODE_CLIENTS}/node_modules/laravel-echo/dist/echo.js`)).default;
const pusher = new Pusher(key, options);
const echo = kind === "echo" ? new Echo({ broadcaster: "pusher", client: pusher }) : null;
const state = { position: null, resumes: false };
pusher.connection.bind("state_change", ({ current }) => {
    if (current === "connected" && state.resumes) pusher.send_event("livepush:resume", { position: state.position });
    say({ event: "state", data: current });
});
pusher.connection.bind("error", (error) => say({ event: "error", data: error.data ?? error.error?.data ?? String(error) }));
pusher.bind("livepush:position", ({ position }) => {
    state.position = position;
});
pusher.user.bind_global((event, data) => say({ event, data, of: "user" }));
pusher.bind("pusher:signin_success", (data) => say({ event: "signin", data }));
const watch = (channel) => {
    channel.bind_global((event, data) => say({ event, data, of: channel.name }));
    channel.bind("client-typing", (data, metadata) => say({ event: "by", data: metadata?.user_id ?? null }));
};
const simple = (members) => {
    const found = {};
    members.each(({ id, info }) => {
        found[id] = info;
    });
    return { count: members.count, me: members.me?.id, members: found };
};
const works = {
    subscribe: ({ channel }) => watch(pusher.subscribe(channel)),
    unsubscribe: ({ channel }) => pusher.unsubscribe(channel),
    trigger: ({ channel, name, data }) => say({ event: "triggered", data: pusher.channel(channel).trigger(name, data) }),
    members: ({ channel }) => say({ event: "members", data: simple(pusher.channel(channel).members) }),
    signin: () => pusher.signin(),
    socket: () => say({ event: "socket", data: pusher.connection.socket_id }),
    resume: ({ position }) => {
        Object.assign(state, { resumes: true, position: position ?? state.position });
        pusher.send_event("livepush:resume", { position: state.position });
    },
    position: () => say({ event: "position", data: state.position }),
    send: ({ name, data }) => pusher.send_event(name, data),
    disconnect: () => pusher.disconnect(),
    connect: () => pusher.connect(),
    // Laravel Echo's own words
    listen: ({ channel, name }) => echo.channel(channel).listen(name, (data) => say({ event: name, data, of: channel })),
    private: ({ channel, name }) => {
        const found = echo.private(channel);
        found.subscribed(() => say({ event: "subscribed", of: channel }));
        found.error((error) => say({ event: "refused", of: channel, data: error }));
        found.listen(name, (data) => say({ event: name, data, of: channel }));
        found.listenForWhisper("typing", (data) => say({ event: "whisper", data, of: channel }));
    },
    whisper: ({ channel, data }) => echo.private(channel).whisper("typing", data),
    join: ({ channel }) =>
        echo.join(channel)
            .here((users) => say({ event: "here", data: users, of: channel }))
            .joining((user) => say({ event: "joining", data: user, of: channel }))
            .leaving((user) => say({ event: "leaving", data: user, of: channel })),
    leave: ({ channel }) => echo.leave(channel),
};
createInterface({ input: process.stdin }).on("line", (line) => {
    const { do: work, ...rest } = JSON.parse(line);
    works[work](rest);
}).on("close", () => process.exit());
