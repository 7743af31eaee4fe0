# SPDX-License-Identifier: Apache-2.0
"""What one program publishes for another to read: snapshot, last self-fence, and how small files are written."""
