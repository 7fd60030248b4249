"""Publishing over HTTP: programs outside of the site's own processes send events with an API key.

The journey of a request: ``views`` takes it, ``authorizing`` finds its key, ``drafts`` or ``cloudevents`` parses its
body, ``idempotency`` sees to it that a repeated request has no second effect, and the bridges' ``settling`` sends
the events and waits for their positions.
"""
