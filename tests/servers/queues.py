"""Real RabbitMQ and Mosquitto servers for the tests, and producers for them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import aio_pika
import zmqtt

from tests.patience import PATIENCE, wait_until
from tests.servers.processes import free_port

QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


class Broker:
    """A broker that can be killed and started again, with what it has stored."""

    def __init__(self, folder: str, limit: str = "") -> None:
        self.folder, self.port = Path(folder), free_port()
        self.limit = limit

    def words(self) -> list[str]:
        """Return the command that runs it."""
        raise NotImplementedError

    def env(self) -> dict[str, str]:
        """Return the environment that the command has in addition."""
        return {}

    def start(self) -> None:
        """Start, and return when it answers."""
        env = {**os.environ, **self.env()}
        self.process = subprocess.Popen(self.words(), env=env, start_new_session=True, **QUIET)
        wait_until(self.answers)

    def kill(self) -> None:
        """End it at once, and return when its port is closed: what its command has started may end after it."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        wait_until(lambda: not self.is_open())

    def answers(self) -> bool:
        """Return whether it takes connections."""
        assert self.process.poll() is None, f"{self.process.args[0]} ended as it started"
        return self.is_open()

    def is_open(self) -> bool:
        """Return whether somebody listens on its port."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Rabbit(Broker):
    """A RabbitMQ server."""

    def __init__(self, folder: str, limit: str = "") -> None:
        super().__init__(folder, limit)
        self.url = f"amqp://127.0.0.1:{self.port}"
        self.epmd = free_port()
        self.distribution = free_port()

    def words(self) -> list[str]:
        return ["/usr/lib/rabbitmq/bin/rabbitmq-server"]

    def env(self) -> dict[str, str]:
        (self.folder / "enabled_plugins").write_text("[].")
        (self.folder / "rabbitmq.conf").write_text(f"{self.limit}\n")
        return {
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(self.epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"tests-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.distribution),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none.conf"),
        }

    def close(self) -> None:
        """End what it has started besides."""
        env = {**os.environ, "ERL_EPMD_PORT": str(self.epmd)}
        wait_until(lambda: subprocess.run(["epmd", "-kill"], env=env, check=False, **QUIET).returncode == 0)

    async def make(self, stream: str, **arguments: object) -> None:
        """Make a queue."""
        async with await aio_pika.connect(self.url) as connection:
            await (await connection.channel()).declare_queue(stream, durable=True, arguments=arguments)

    async def publish(self, stream: str, *bodies: object, ids: bool = False) -> None:
        """Append messages, with an id if one is wanted."""
        async with await aio_pika.connect(self.url) as connection:
            exchange = (await connection.channel()).default_exchange
            for body in bodies:
                message = aio_pika.Message(
                    json.dumps(body).encode(),
                    delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                    message_id=f"message-{body['n']}" if ids else None,
                    headers={"source": "tests"},
                )
                await exchange.publish(message, stream)

    async def taken(self, stream: str) -> list[tuple[str, dict[str, object]]]:
        """Take what a relay has sent to a queue; return the ids and the events."""
        found = []
        async with await aio_pika.connect(self.url) as connection:
            queue = await (await connection.channel()).declare_queue(stream, passive=True)
            async with queue.iterator(no_ack=True) as messages:
                while len(found) < queue.declaration_result.message_count:
                    message = await anext(messages)
                    found.append((message.message_id, json.loads(message.body)))
        return found

    async def remove(self, stream: str) -> None:
        """Remove a queue with its messages."""
        async with await aio_pika.connect(self.url) as connection:
            await (await connection.channel()).queue_delete(stream)

    async def left(self, stream: str) -> int:
        """Return how many messages wait in a queue."""
        async with await aio_pika.connect(self.url) as connection:
            queue = await (await connection.channel()).declare_queue(stream, passive=True)
            return int(queue.declaration_result.message_count)


class Mosquitto(Broker):
    """A Mosquitto server, which keeps messages for those that are away."""

    def __init__(self, folder: str, limit: str = "") -> None:
        super().__init__(folder, limit)
        self.url = f"mqtt://127.0.0.1:{self.port}"

    def words(self) -> list[str]:
        config = self.folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {self.folder}/\n"
            f"max_queued_messages 0\nuser root\n{self.limit}\n"
        )
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        return [program, "-c", str(config)]

    async def make(self, stream: str) -> None:
        """Have the broker keep what is published, for ``taken``."""
        client = self._reader()
        await client.connect()
        await client.subscribe(stream, qos=zmqtt.QoS.AT_LEAST_ONCE, auto_ack=False).start()
        for subscription in list(client._subscriptions):
            await subscription.detach()  # without unsubscribing
        await client.disconnect()

    async def taken(self, stream: str) -> list[tuple[str, dict[str, object]]]:
        """Take what a relay has published; return the ids and the events."""
        found = []
        async with self._reader() as client, client.subscribe(stream, qos=zmqtt.QoS.AT_LEAST_ONCE) as messages:
            with contextlib.suppress(TimeoutError):
                while True:
                    message = await asyncio.wait_for(messages.get_message(), 2)
                    found.append((dict(message.properties.user_properties)["id"], json.loads(message.payload)))
        return found

    def _reader(self) -> zmqtt.MQTTClient:
        return zmqtt.create_client(
            "127.0.0.1",
            self.port,
            client_id="tests",
            clean_session=False,
            session_expiry_interval=3_600,
            session_replay_buffer_size=65_535,
            version="5.0",
        )

    async def publish(self, stream: str, *bodies: object, retain: bool = False) -> None:
        """Publish messages to a topic."""
        async with zmqtt.create_client("127.0.0.1", self.port, version="5.0") as client:
            for body in bodies:
                await client.publish(stream, json.dumps(body).encode(), qos=zmqtt.QoS.AT_LEAST_ONCE, retain=retain)

    def close(self) -> None:
        """Nothing is left."""


@contextlib.contextmanager
def queue_broker(kind: str, limit: str = "") -> Iterator[Broker]:
    """Run a broker, with a line of its configuration that limits messages."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        found = {"rabbit": Rabbit, "mqtt": Mosquitto}[kind](folder, limit)
        try:
            found.start()
            yield found
        finally:
            found.kill()
            found.close()
