# SPDX-License-Identifier: Apache-2.0
"""paho's C library, over TCP and WebSocket (c/driver.c has it inside)."""
from clients import E2E, Aliases, Suite
from harness import main


class PahoC(Suite, Aliases, E2E):
    KINDS = ("c", "c ws")


if __name__ == "__main__":
    main()
