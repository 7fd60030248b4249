// Pusher's client library, or Laravel Echo on it, under node: it does what the lines on stdin say, and prints what it gets.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(process.env.LIVEPUSH_NODE_CLIENTS + "/");
const Pusher = require("pusher-js");
const { kind, key, port, cookie, token } = JSON.parse(process.argv[2]);
const say = (found) => process.stdout.write(JSON.stringify(found) + "\n");
const headers = { ...(cookie ? { Cookie: cookie } : {}), ...(token ? { Authorization: `Bearer ${token}` } : {}) };
const base = `http://127.0.0.1:${port}/pusher`;
const options = {
    cluster: "livepush", wsHost: "127.0.0.1", wsPort: port, forceTLS: false, enabledTransports: ["ws"], enableStats: false,
    channelAuthorization: { endpoint: `${base}/auth`, transport: "ajax", headers },
    userAuthentication: { endpoint: `${base}/user-auth`, transport: "ajax", headers },
};
const pusher = new Pusher(key, options);
let echo;
if (kind === "echo") {
    const { default: Echo } = require("laravel-echo");
    echo = new Echo({ broadcaster: "pusher", client: pusher });
}
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
const watch = (channel) =>
    channel.bind_global((event, data, metadata) =>
        say({ event, data, of: channel.name, ...(metadata?.user_id ? { user: metadata.user_id } : {}) }));
const simple = (members) => {
    const found = {};
    members.each(({ id, info }) => {
        found[id] = info;
    });
    return { count: members.count, me: members.me?.id, members: found };
};
const work = {
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
    const { do: name, ...rest } = JSON.parse(line);
    work[name](rest);
}).on("close", () => process.exit());
