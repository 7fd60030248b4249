"""Which metrics there are: the name, the labels and the meaning of each."""

from __future__ import annotations

from typing import NamedTuple

GAUGE, COUNTER, HISTOGRAM = "gauge", "counter", "histogram"


class Metric(NamedTuple):
    """A metric, but for the label ``process``, which all of them have."""

    kind: str
    labels: tuple[str, ...]
    help: str


METRICS = {
    "livepush_connections": Metric(GAUGE, ("transport", "state"), "Clients that are connected: streams and held polls"),
    "livepush_connects": Metric(
        COUNTER, ("transport", "kind"), "Streams that were opened; the kind says whether the client was new or resumed"
    ),
    "livepush_disconnects": Metric(COUNTER, ("transport", "reason"), "Streams that have ended, by reason"),
    "livepush_refusals": Metric(COUNTER, ("transport", "code"), "Requests and commands that were refused, by code"),
    "livepush_revocations": Metric(COUNTER, ("transport", "reason"), "Times that groups were taken away, by reason"),
    "livepush_resets": Metric(COUNTER, ("reason",), "Clients that were told that their history is lost, by reason"),
    "livepush_deliveries": Metric(COUNTER, (), "Times that an event was offered to a connected client"),
    "livepush_offered_bytes": Metric(COUNTER, (), "Bytes of encoded events that were offered to connected clients"),
    "livepush_published": Metric(COUNTER, ("kind",), "Events and notifications that were published over HTTP"),
    "livepush_buffered_bytes": Metric(GAUGE, (), "Bytes that wait for slow clients"),
    "livepush_queued_bytes": Metric(GAUGE, (), "Bytes of own events that the event loop has not taken yet"),
    "livepush_early_batches": Metric(GAUGE, (), "Announced batches that wait for one before them"),
    "livepush_hint_bytes": Metric(GAUGE, (), "Bytes that wait to be announced to other processes"),
    "livepush_audit_records": Metric(GAUGE, (), "Records that wait for receivers of an audit"),
    "livepush_handshakes": Metric(GAUGE, (), "Clients that are being let in"),
    "livepush_groups": Metric(GAUGE, (), "Groups that have readers"),
    "livepush_hub_position": Metric(GAUGE, (), "The number up to which the hub has routed everything"),
    "livepush_tail_lag_events": Metric(GAUGE, (), "Settled events that the hub has not routed yet"),
    "livepush_settle_seconds": Metric(HISTOGRAM, (), "How long it took to give committed events their positions"),
    "livepush_log_position": Metric(GAUGE, (), "The number of the log's last event"),
    "livepush_log_floor": Metric(GAUGE, (), "The number up to which events were pruned"),
    "livepush_log_unsettled": Metric(GAUGE, (), "Whether committed events wait for their positions"),
    "livepush_inbox_lag_events": Metric(GAUGE, (), "Settled events that were not filed into the inbox yet"),
    "livepush_relay_lag_events": Metric(GAUGE, ("relay",), "Settled events that an outward relay has not sent yet"),
    "livepush_relay_lag_messages": Metric(
        GAUGE, ("relay",), "Messages of a Kafka topic or a NATS stream that were not relayed yet"
    ),
    "livepush_relay_dead_letters": Metric(
        GAUGE, ("relay",), "Messages and events that a relay could not relay, until they are deleted"
    ),
}
SHARED = (
    "livepush_log_position", "livepush_log_floor", "livepush_log_unsettled", "livepush_inbox_lag_events",
    "livepush_relay_lag_events", "livepush_relay_lag_messages", "livepush_relay_dead_letters",
)  # fmt: skip
"""The metrics that are the same for all processes: they have no label ``process``."""
