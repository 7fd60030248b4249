"""Runs Python for ``tests.recipes.project``: code and names come in as a line of JSON, and ``result`` goes out."""

from __future__ import annotations

import json
import sys
import traceback

import django


def main() -> None:
    django.setup()
    for line in sys.stdin:
        code, names = json.loads(line)
        try:
            exec(code, names)
            answer = {"result": names.get("result")}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)


main()
