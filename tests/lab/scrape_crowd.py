#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""scrape_crowd SECONDS: many ask the exporter at once, some never read, some send nonsense. Runs in a guest.

Prints each second how many scrapes have been answered in full.
"""

import http.client
import socket
import sys
import threading
import time
from contextlib import suppress

PORT = 10623
SCRAPERS, SILENT, MALFORMED = 50, 20, 5


def main() -> None:
    end = time.monotonic() + float(sys.argv[1])
    served: list[int] = []
    kept: list[socket.socket] = []

    def scrape() -> None:
        while time.monotonic() < end:
            with suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
                connection.request("GET", "/metrics")
                served.append(len(connection.getresponse().read()))

    def never_read() -> None:
        with suppress(OSError):
            silent = socket.create_connection(("127.0.0.1", PORT), timeout=30)
            kept.append(silent)
            while time.monotonic() < end:
                silent.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                time.sleep(0.1)

    def send_nonsense() -> None:
        while time.monotonic() < end:
            with suppress(OSError), socket.create_connection(("127.0.0.1", PORT), timeout=30) as wrong:
                wrong.sendall(b"\x16\x03\x01 GET " + b"%" * 9000 + b"\r\n\r\n")
                wrong.recv(4096)

    jobs = [scrape] * SCRAPERS + [never_read] * SILENT + [send_nonsense] * MALFORMED
    threads = [threading.Thread(target=job, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        time.sleep(1)
        print(len(served), flush=True)


if __name__ == "__main__":
    main()
