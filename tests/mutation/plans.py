# SPDX-License-Identifier: Apache-2.0
"""Which tests have to notice what becomes of which module."""

from dataclasses import dataclass

_STORAGE = "tests/storage/test_"
_VERDICTS = (
    "tests/agent/test_verdict.py",
    "tests/agent/test_decided.py",
    "tests/agent/test_diag_verdict.py",
    "tests/agent/test_other_verdicts.py",
    "tests/decisions/test_monitor_verdict.py",
    "tests/decisions/test_failed_side.py",
    "tests/decisions/test_remedies.py",
    "tests/agent/test_self_fence_request.py",
)


def _tests(*names: str) -> tuple[str, ...]:
    return tuple(f"{_STORAGE}{name}.py" for name in names)


@dataclass(frozen=True)
class Plan:
    """One module and the tests that have to notice what becomes of it.

    wider: slower ones, only for mutants that survive tests.
    elsewhere: tests execute it in other processes as well, which the survey does not see.
    """

    path: str
    tests: tuple[str, ...]
    wider: tuple[str, ...] = ()
    elsewhere: bool = False


PLANS = {
    "arbitration": Plan(
        "fencer/storage/arbitration.py",
        (
            *_tests("arbitration", "race_paths", "strangers", "isolation", "turns", "fenced_record"),
            "tests/decisions/test_duel.py",
        ),
        (*_tests("procedure", "logical_unit", "second_key", "remedies"), "tests/decisions/test_fence_loop.py"),
    ),
    "isolation": Plan(
        "fencer/storage/isolation.py",
        _tests("isolation", "strangers", "second_key"),
        _tests("logical_unit", "procedure", "unregistering", "remedies"),
    ),
    "logical_unit": Plan(
        "fencer/storage/logical_unit.py", _tests("logical_unit", "lun_rounds", "second_key", "arbitration")
    ),
    "look": Plan(
        "fencer/storage/look.py",
        _tests("look", "isolation", "strangers"),
        _tests("unregistering", "fenced_record"),
    ),
    "turns": Plan("fencer/storage/turns.py", _tests("turns", "isolation"), _tests("logical_unit", "remedies")),
    "key_removal": Plan("fencer/storage/key_removal.py", _tests("key_removal", "second_key", "isolation")),
    "guarded_registration": Plan(
        "fencer/storage/guarded_registration.py",
        _tests("guarded_registration", "registration", "arbitration"),
        _tests("logical_unit"),
    ),
    "registration": Plan(
        "fencer/storage/registration.py",
        _tests(
            "registration", "registration_attempts", "unfencing", "first_registration", "fenced_while_registering",
            "fence_while_registering", "paths_down",
        ),
    ),
    "restoring": Plan(
        "fencer/storage/restoring.py", (*_tests("restoring"), "tests/sidecar/observer/test_registrar.py")
    ),
    "unregistering": Plan(
        "fencer/storage/unregistering.py", _tests("unregistering", "fenced_while_registering", "first_registration")
    ),
    "unfencing": Plan(
        "fencer/storage/unfencing.py",
        _tests(
            "unfencing", "unfencing_records", "unfence_end", "first_registration", "fenced_while_registering",
            "fence_while_registering", "paths_down",
        ),
        ("tests/decisions/test_fence_loop.py",),
    ),
    "fenced_record": Plan(
        "fencer/storage/fenced_record.py",
        _tests("fenced_record", "unfencing_records"),
        ("tests/decisions/test_fence_loop.py",),
    ),
    "marker": Plan("fencer/storage/marker.py", _tests("marker", "unfencing")),
    "verdict": Plan("fencer/agent/verdict.py", _VERDICTS),
    "facts": Plan("fencer/agent/facts.py", _VERDICTS),
    "plan": Plan("fencer/agent/plan.py", ("tests/agent/test_plan.py",), ("tests/decisions",)),
    "fence": Plan(
        "fencer/agent/run.py",
        (
            "tests/agent/test_guard_key_wait.py",
            "tests/agent/test_look_before_go.py",
            "tests/agent/test_race_again.py",
            "tests/agent/test_run.py",
            "tests/agent/test_run_clock.py",
            "tests/agent/test_run_ends.py",
            "tests/agent/test_run_times.py",
        ),
        elsewhere=True,
    ),
    "procedure": Plan(
        "fencer/power/procedure.py",
        tuple(f"tests/power/test_{name}.py" for name in ("procedure", "procedure_times", "go", "identity")),
    ),
}  # fmt: skip
