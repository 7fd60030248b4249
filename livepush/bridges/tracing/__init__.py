"""OpenTelemetry: the spans of an event, from its send through settle to its delivery, in whichever processes these are.

The trace context is the event's key in the log (W3C Trace Context, section 3.2), unless the event has a key of the
project's. So the log has no column for it, and what is not traced costs nothing. See ``docs/monitoring.md``.
"""
