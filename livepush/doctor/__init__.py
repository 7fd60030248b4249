"""What ``livepush_doctor`` looks at: the host's side, and a site as browsers see it.

``report`` lists every problem with its remedy; ``host`` and ``site`` look; ``web`` speaks HTTP and WebSocket;
``examination`` runs it all.
"""
