# SPDX-License-Identifier: Apache-2.0
"""What one program publishes for another: when it counts, how it is written and read."""
