"""librdkafka's mock cluster in a process of its own: ``python -m tests.servers.mock_kafka BROKERS``.

It speaks Kafka's wire protocol and keeps everything in memory. It prints its address, and then does what each line of
its input says: the name of a command and its arguments. It prints ``0`` after each that it could do.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

import confluent_kafka

PRODUCER = 0
TOPIC, PARTITION, VALUE, MESSAGE_FLAGS, HEADERS, END = 1, 3, 4, 7, 10, 0
"""What the arguments of librdkafka's ``producev`` begin with."""
COPY = 2
COMMANDS = {
    "create": "rd_kafka_mock_topic_create",  # topic, partitions, replicas
    "delete": "rd_kafka_mock_topic_delete",  # topic
    "delete_records": "rd_kafka_mock_partition_delete_records",  # topic, partition, the offset to begin at
    "down": "rd_kafka_mock_broker_set_down",  # broker
    "up": "rd_kafka_mock_broker_set_up",  # broker
    "lead": "rd_kafka_mock_partition_set_leader",  # topic, partition, broker
    "allow": "rd_kafka_mock_clear_request_errors",  # the key of a request
    "error": "rd_kafka_mock_topic_set_error",  # topic, error
}


class Cluster:
    """A mock cluster, through librdkafka's functions in C, which its Python client has with it."""

    def __init__(self, brokers: int) -> None:
        folder = Path(confluent_kafka.__file__).parent.with_name("confluent_kafka.libs")
        (path,) = folder.glob("librdkafka*")
        self._library = library = ctypes.CDLL(str(path))
        for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new", "rd_kafka_mock_cluster_new"):
            getattr(library, name).restype = ctypes.c_void_p
        library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        self._cluster = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(self._client(), brokers))
        library.rd_kafka_mock_set_controller_id(self._cluster, 1)
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 100)
        self.address = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def do(self, name: str, words: list[str]) -> int:
        """Do what a command says; return 0 if that was possible."""
        given: list[Any] = [ctypes.c_int64(int(word)) if word.isdecimal() else word.encode() for word in words]
        if name == "refuse":
            return self._refuse(*map(int, words))
        if name == "publish_strangely":
            return self._publish_strangely(*given)
        function = getattr(self._library, COMMANDS[name])
        function.restype = None if name == "allow" else ctypes.c_int
        return int(function(self._cluster, *given) or 0)

    def _refuse(self, request: int, error: int, count: int) -> int:
        """Answer the next requests of a kind with an error."""
        errors = (ctypes.c_int * count)(*[error] * count)
        key = ctypes.c_int16(request)
        self._library.rd_kafka_mock_push_request_errors_array(self._cluster, key, ctypes.c_size_t(count), errors)
        return 0

    def _publish_strangely(self, topic: bytes) -> int:
        """Append a message with a header whose name is not UTF-8, which Python's client can't."""
        client = self._client(b"bootstrap.servers", self.address.encode())
        headers = ctypes.c_void_p(self._library.rd_kafka_headers_new(ctypes.c_size_t(1)))
        self._library.rd_kafka_header_add(headers, b"\xff", ctypes.c_ssize_t(1), b"v", ctypes.c_ssize_t(1))
        value = b'{"id": 1, "n": "0"}'
        marks = {mark: ctypes.c_int(mark) for mark in (TOPIC, PARTITION, VALUE, MESSAGE_FLAGS, HEADERS, END)}
        self._library.rd_kafka_producev(
            client, marks[TOPIC], topic, marks[PARTITION], ctypes.c_int32(0),
            marks[VALUE], value, ctypes.c_size_t(len(value)), marks[MESSAGE_FLAGS], ctypes.c_int(COPY),
            marks[HEADERS], headers, marks[END],
        )  # fmt: skip
        return int(self._library.rd_kafka_flush(client, 30_000))

    def _client(self, *option: bytes) -> ctypes.c_void_p:
        conf = ctypes.c_void_p(self._library.rd_kafka_conf_new())
        if option:
            self._library.rd_kafka_conf_set(conf, *option, None, ctypes.c_size_t(0))
        return ctypes.c_void_p(self._library.rd_kafka_new(PRODUCER, conf, None, ctypes.c_size_t(0)))


if __name__ == "__main__":
    cluster = Cluster(int(sys.argv[1]))
    print(cluster.address, flush=True)
    for line in sys.stdin:
        name, *words = line.split()
        print(cluster.do(name, words), flush=True)
