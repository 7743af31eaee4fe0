# SPDX-License-Identifier: Apache-2.0
"""Makes Prometheus metric families from snapshot and journal. Pure: reads no file, no clock, no device."""
