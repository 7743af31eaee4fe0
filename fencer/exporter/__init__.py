# SPDX-License-Identifier: Apache-2.0
"""halvm-exporter: reads snapshot and journal, serves metrics and a status page over HTTP."""
