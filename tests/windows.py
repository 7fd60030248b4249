"""A pytest plugin that takes away what Python lacks on Windows, before livepush is imported: ``-p tests.windows``.

What pytest and asyncio themselves need here stays.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import sys

MISSING = {
    os: ("register_at_fork", "fork", "forkpty", "getpgid", "killpg", "setsid", "uname",
         "statvfs", "sched_getaffinity", "pidfd_open", "pread", "mkfifo", "nice", "getloadavg"),
    signal: ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL", "SIGQUIT", "SIGALRM", "SIGCHLD", "SIGPIPE", "siginterrupt",
             "setitimer", "alarm", "pthread_kill", "sigwait"),
    select: ("poll", "epoll"),
    socket: ("TCP_INFO", "send_fds", "recv_fds", "SO_REUSEPORT"),
}  # fmt: skip
asyncio.SelectorEventLoop.add_signal_handler = asyncio.AbstractEventLoop.add_signal_handler  # type: ignore[method-assign]
MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "syslog")

for module, names in MISSING.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
for missing in MODULES:
    sys.modules[missing] = None  # type: ignore[assignment]
if sys.argv[1:] == ["import"]:  # of each module of livepush, in a process that has nothing else
    import pkgutil
    from importlib import import_module

    import django

    import livepush

    django.setup()
    for found in pkgutil.walk_packages(livepush.__path__, "livepush."):
        import_module(found.name)
