# SPDX-License-Identifier: Apache-2.0
"""The journal: what is kept, who may read it, and that nothing of it touches a fence."""
