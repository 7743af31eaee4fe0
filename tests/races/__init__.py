# SPDX-License-Identifier: Apache-2.0
"""Two nodes fence each other at the same instant, again and again; a survivor each time, and only one.

``python -m tests.races`` races on a private tgtd; the lab hands in other devices. See contest.py and whole.py.
"""
