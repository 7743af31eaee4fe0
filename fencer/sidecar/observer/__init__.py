# SPDX-License-Identifier: Apache-2.0
"""The observing process: paths and registrations, one thread for each that may hang."""
