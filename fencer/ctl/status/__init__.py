# SPDX-License-Identifier: Apache-2.0
"""``halvmctl status``."""
