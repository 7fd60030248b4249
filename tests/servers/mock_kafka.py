"""librdkafka's mock cluster in a process of its own: ``python -m tests.servers.mock_kafka BROKERS``.

It speaks Kafka's wire protocol and keeps everything in memory. It prints its address, and then does what each line of
its input says: the name of a command and its arguments. It prints ``0`` after each that it could do.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import confluent_kafka

PRODUCER = 0
COMMANDS = {
    "create": "rd_kafka_mock_topic_create",  # topic, partitions, replicas
    "delete": "rd_kafka_mock_topic_delete",  # topic
    "delete_records": "rd_kafka_mock_partition_delete_records",  # topic, partition, the offset to begin at
    "down": "rd_kafka_mock_broker_set_down",  # broker
    "up": "rd_kafka_mock_broker_set_up",  # broker
    "lead": "rd_kafka_mock_partition_set_leader",  # topic, partition, broker
    "error": "rd_kafka_mock_topic_set_error",  # topic, error
}


def main(brokers: int) -> None:
    """Serve until the input ends."""
    folder = Path(confluent_kafka.__file__).parent.with_name("confluent_kafka.libs")
    (path,) = folder.glob("librdkafka*")
    library = ctypes.CDLL(str(path))
    for name in ("rd_kafka_new", "rd_kafka_mock_cluster_new"):
        getattr(library, name).restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    client = ctypes.c_void_p(library.rd_kafka_new(PRODUCER, None, None, ctypes.c_size_t(0)))
    cluster = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(client, brokers))
    library.rd_kafka_mock_set_controller_id(cluster, 1)
    library.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 100)
    print(library.rd_kafka_mock_cluster_bootstraps(cluster).decode(), flush=True)
    for line in sys.stdin:
        name, *words = line.split()
        if name == "refuse":  # the key of a request, the error, and how many times
            request, error, count = map(int, words)
            errors = (ctypes.c_int * count)(*[error] * count)
            library.rd_kafka_mock_push_request_errors_array(
                cluster, ctypes.c_int16(request), ctypes.c_size_t(count), errors
            )
            print(0, flush=True)
            continue
        found = [ctypes.c_int64(int(word)) if word.isdecimal() else word.encode() for word in words]
        result = getattr(library, COMMANDS[name])(cluster, *found)
        print(result, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
