
// What a test adds to the manual's scripts: it says what happens, and loses the connection when it is told to.
order.bind("pusher:subscription_succeeded", () => console.log("subscribed"));
process.stdin.on("data", () => {
    if (pusher.connection.state !== "connected") {
        pusher.connect();
    } else {
        pusher.disconnect();
        console.log("away");
    }
});
