# SPDX-License-Identifier: Apache-2.0
"""A guest's serial console on the terminal that we run in."""

import os
import select
import socket
import sys
import termios
import time
import tty

from .guest import Guest

_LEAVE = b"\x1d"  # Ctrl-], as telnet has it


def _connect(guest: Guest) -> socket.socket:
    for _ in range(50):  # a node that is just being powered on has no console yet
        channel = socket.socket(socket.AF_UNIX)
        try:
            channel.connect(str(guest.directory / "console"))
        except OSError:
            channel.close()
            time.sleep(0.2)
        else:
            return channel
    raise ConnectionError(f"{guest.name}: no console")


def attach(guest: Guest) -> None:
    """Returns when the user types Ctrl-] or input ends. Stays over a power cycle of the guest."""
    print(f"{guest.name}: Ctrl-] leaves and ends the lab", flush=True)
    keyboard = sys.stdin.fileno()
    terminal = os.isatty(keyboard)
    if terminal:
        before = termios.tcgetattr(keyboard)
        tty.setraw(keyboard)
    channel = _connect(guest)
    try:
        channel.sendall(b"\n")
        while True:
            ready, _, _ = select.select([keyboard, channel], [], [])
            if channel in ready:
                output = channel.recv(65536)
                if not output:
                    channel.close()
                    channel = _connect(guest)
                os.write(sys.stdout.fileno(), output)
            if keyboard in ready:
                typed = os.read(keyboard, 4096)
                if not typed or _LEAVE in typed:
                    return
                channel.sendall(typed)
    finally:
        channel.close()
        if terminal:
            termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
