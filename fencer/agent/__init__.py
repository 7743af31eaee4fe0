# SPDX-License-Identifier: Apache-2.0
"""The fence agent, in the order of a call: options, request, plan, run, verdict, report."""
