# SPDX-License-Identifier: Apache-2.0
"""Who may say success, who wins, and what is never written: the decisions, without any hardware."""
