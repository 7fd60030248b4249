"""The checks of ``livepush_doctor``: of this host, and of a site as browsers see it.

``examination`` runs the checks of ``settings``, ``database``, ``layer``, ``retention``, ``clock``, ``site``,
``static_files``, ``server`` and ``streams``. ``problems`` lists every problem with its remedy, and ``web`` speaks HTTP
and WebSocket. ``endpoint`` runs in the server and answers with the facts that ``facts`` gathers.
"""
