# SPDX-License-Identifier: Apache-2.0
"""The sidecar: feeds the watchdog while this node may write, and lets it be reset when it may not."""
