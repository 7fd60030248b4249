"""What ``livepush_doctor`` looks at: the host's side, and a site as browsers see it.

``examination`` runs the checks of ``settings``, ``database``, ``layer``, ``retention``, ``clock``, ``site``, ``server``
and ``streams``. ``problems`` lists every problem with its remedy, and ``web`` speaks HTTP and WebSocket. In the server,
``endpoint`` answers with what ``facts`` gathers.
"""
