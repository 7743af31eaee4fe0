# SPDX-License-Identifier: Apache-2.0
"""The benchmark beside fence_scsi runs in the guest of today."""

from benchmarks import storage_peer


def test_each_program_isolates_the_victim() -> None:
    """The benchmark ends with an error where one did not."""
    (found,) = storage_peer.measured((1,), 1, counted=False).values()
    assert {who: len(each["seconds"]) for who, each in found.items()} == dict.fromkeys(
        ("fence_halvm", "active", "fence_scsi", "bare", "python"), 1
    )
