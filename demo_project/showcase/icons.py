"""The paths of the demo's icons, drawn on a grid of 24: each means one thing everywhere."""

from __future__ import annotations

ICONS = {
    "plug": "M9 3v5M15 3v5M6 8h12v3a6 6 0 0 1-12 0zM12 17v4",
    "kill": "M13 3 5 13h6l-1 8 9-11h-6z",
    "block": "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M5.700 5.700l12.600 12.600",
    "slow": "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M12 7v5l3 2",
    "sleep": "M20 14.500A8.500 8.500 0 0 1 9.500 4 8.500 8.500 0 1 0 20 14.500",
    "servers": "M4 4h16v6H4zM4 14h16v6H4zM8 7h.01M8 17h.01",
    "copy": "M9 9h11v11H9zM5 15H4V4h11v1",
    "manual": "M5 4h10a4 4 0 0 1 4 4v12H9a4 4 0 0 1-4-4zM5 16a4 4 0 0 1 4-4h10",
    "phone": "M8 2h8a1 1 0 0 1 1 1v18a1 1 0 0 1-1 1H8a1 1 0 0 1-1-1V3a1 1 0 0 1 1-1M11 18.500h2",
    "send": "M21 3 10 14M21 3l-7 18-4-7-7-4z",
    "check": "M5 12.500 10 17.500 19 7",
    "play": "M7 4v16l13-8z",
    "arrow": "M5 12h14M13 6l6 6-6 6",
}
