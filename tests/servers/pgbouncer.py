"""A real PgBouncer in transaction mode: each transaction may get another of the few connections behind it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.patience import PATIENCE
from tests.servers.fresh import Database, options_of
from tests.servers.nginx import wait_for_port
from tests.servers.processes import free_port


@contextlib.contextmanager
def pgbouncer(database: Database, folder: Path, size: int = 3) -> Iterator[Database]:
    """Run PgBouncer with so many connections to a database's server; yield the database as it is behind it.

    Connections take turns, so that two transactions of one client hardly ever share one.
    """
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    assert program is not None, "PgBouncer is not installed: on Debian, apt-get install pgbouncer"
    options, port = options_of(database.kind), free_port()
    conf = folder / "pgbouncer.ini"
    conf.write_text(
        f"[databases]\n* = host={options['HOST']} user={options['USER']}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = transaction\ndefault_pool_size = {size}\nmin_pool_size = {size}\nserver_round_robin = 1\n"
        f"max_client_conn = 500\n"
    )
    user = []
    if os.geteuid() == 0:  # it refuses to run as root, and the server's socket may be its owner's alone
        user = ["-u", pwd.getpwuid(Path(options["HOST"]).stat().st_uid).pw_name]
        folder.chmod(0o755)
        for parent in folder.parents:
            if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o001)
    with (folder / "pgbouncer.log").open("w+") as printed:
        process = subprocess.Popen(
            [program, *user, str(conf)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=printed
        )
        try:
            wait_for_port(port, process, lambda: (folder / "pgbouncer.log").read_text())
            yield database.through(HOST="127.0.0.1", PORT=str(port), USER=options["USER"])
        finally:
            process.terminate()
            process.wait(PATIENCE)
