# SPDX-License-Identifier: Apache-2.0
"""What the cluster's own programs and files say: for each of them one data type and one parser."""
