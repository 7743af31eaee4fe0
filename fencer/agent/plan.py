# SPDX-License-Identifier: Apache-2.0
"""Plans a request: which worker does what, in which order, and what proves success. Pure."""

from fencer._typing import NamedTuple
from fencer.agent.request import Caller, Request, StorageRequest
from fencer.model import Action, ArbitrationMode, ProofPolicy
from fencer.power.procedure import PowerAim, PowerGoal
from fencer.storage.goal import StorageGoal


class Plan(NamedTuple):
    """What each worker has to do; None where it has nothing to do."""

    request: Request
    power: PowerGoal | None
    storage: StorageGoal | None

    @property
    def gated(self) -> bool:
        """True where power waits until arbitration is won."""
        return (
            self.storage is StorageGoal.FENCE
            and self.request.storage is not None
            and self.request.storage.arbitration is not ArbitrationMode.OFF
        )

    @property
    def needs_proof(self) -> bool:
        """True where success means that the target can no longer write; ``diag`` means so to cluster managers only."""
        if self.request.action is Action.DIAG:
            return self.request.caller is Caller.CLUSTER
        return self.request.action in (Action.OFF, Action.REBOOT)

    @property
    def awaits_self_fence(self) -> bool:
        """True where the target's self-fence bound may replace an observed off."""
        return (
            self.request.action in (Action.OFF, Action.REBOOT)
            and self.request.policy is ProofPolicy.SELF
            and self.storage is StorageGoal.FENCE
        )

    @property
    def may_repair(self) -> bool:
        """Whether a fence may register an I_T nexus of this node again (docs/decisions/0002).

        It may where every fence of the cluster switches its target off: then a node that registered itself too late
        cannot write. ``diag`` switches no node off.
        """
        return self.request.action is not Action.DIAG and self.request.policy in (ProofPolicy.POWER, ProofPolicy.ALL)

    @property
    def needs_power(self) -> bool:
        """True where no fence succeeds without a proof by power. With SELF, the self-fence bound may replace it."""
        return self.request.storage is None or self.request.policy in (ProofPolicy.POWER, ProofPolicy.ALL)

    @property
    def needs_storage(self) -> bool:
        """True where no fence succeeds without a proof by storage."""
        return self.request.bmc is None or self.request.policy in (
            ProofPolicy.STORAGE,
            ProofPolicy.ALL,
            ProofPolicy.SELF,
        )

    def steps(self) -> tuple[str, ...]:
        """The steps of the plan as text for the operator, for --dry-run."""
        request = self.request
        timing = request.timing
        steps: list[str] = []
        if timing.delay_s and request.action in (Action.OFF, Action.REBOOT):
            steps.append(f"wait {timing.delay_s:g} s (delay)")
        if self.power is not None:
            steps.append(f"log in to the BMC {request.bmc}")
        if self.storage is not None and request.storage is not None:
            steps += _storage_steps(self.storage, request, request.storage)
        if self.power is not None:
            after = " once arbitration is won" if self.gated else ""
            steps += [f"{step}{after}" for step in _POWER_STEPS[self.power.aim]]
        if self.awaits_self_fence:
            off = " unless the BMC reports chassis power off before" if self.power is not None else ""
            steps.append(f"let {request.self_fence_bound_s:g} s pass, in which {request.who} resets itself{off}")
        if request.action is Action.DIAG:
            steps.append(self._diag_success())
        elif self.needs_proof:
            steps.append(f"succeed only on proof: {_PROOFS[request.policy]}")
        steps.append(f"give up after {timing.deadline_s:g} s")
        return tuple(steps)

    def _diag_success(self) -> str:
        """The step that says what makes ``diag`` a success (docs/decisions/0005)."""
        if not self.needs_proof:
            return "succeed once the BMC has taken the interrupt, which is no fence"
        if self.storage is None:
            return "fail: an interrupt proves nothing, and there are no LUNs on which storage could be proved"
        return f"succeed only once the BMC has taken the interrupt, and on proof: {_PROOFS[ProofPolicy.STORAGE]}"


def make_plan(request: Request) -> Plan:
    """The plan for this request."""
    power: PowerGoal | None = None
    storage: StorageGoal | None = None
    match request.action:
        case Action.OFF | Action.REBOOT | Action.DIAG:
            power = PowerGoal(_AIMS[request.action], request.method, never_seen=_is_first_sight(request))
            storage = StorageGoal.FENCE
        case Action.ON if request.target_is_local and request.storage is not None:
            storage = StorageGoal.REGISTER
        case Action.ON:
            power = PowerGoal(PowerAim.ON)
        case Action.STATUS:
            power = PowerGoal(PowerAim.STATUS)
            storage = StorageGoal.STATUS if request.bmc is None else None
        case Action.MONITOR:
            power = PowerGoal(PowerAim.MONITOR)
            storage = StorageGoal.MONITOR
        case _:
            raise AssertionError(f"{request.action} needs no plan")
    return Plan(
        request,
        power if request.bmc is not None else None,
        storage if request.storage is not None else None,
    )


def _is_first_sight(request: Request) -> bool:
    """Whether the node's BMC cannot be told from another BMC with the same password.

    False where LUNs are given, since storage and the race protect as well. False where no node is named, since then the
    request means the BMC itself.
    """
    known = request.bmc.known if request.bmc is not None else None
    return known is not None and known.guid is None and request.storage is None and request.target is not None


_AIMS = {Action.OFF: PowerAim.OFF, Action.REBOOT: PowerAim.REBOOT, Action.DIAG: PowerAim.DIAG}

_POWER_STEPS = {
    PowerAim.OFF: ("switch chassis power off, hard, and read it back",),
    PowerAim.REBOOT: ("switch chassis power off, hard, and read it back", "switch chassis power on and read it back"),
    PowerAim.ON: ("switch chassis power on and read it back",),
    PowerAim.STATUS: ("read chassis power",),
    PowerAim.MONITOR: ("read chassis power",),
    PowerAim.DIAG: ("send a diagnostic interrupt (NMI)",),
}

_PROOFS = {
    ProofPolicy.POWER: "the BMC reports chassis power off",
    ProofPolicy.STORAGE: "the target's key is gone from every LUN and a reservation is held by a survivor",
    ProofPolicy.ANY: "the BMC reports chassis power off, or the target's key is gone from every LUN",
    ProofPolicy.ALL: "the BMC reports chassis power off, and the target's key is gone from every LUN",
    ProofPolicy.SELF: (
        "the target's key is gone from every LUN and a reservation is held by a survivor, and the BMC reports chassis "
        "power off or the target's self-fence bound has passed since"
    ),
}


def _fence_steps(request: Request, storage: StorageRequest) -> list[str]:
    where = storage.settings.where
    remove = f"PREEMPT AND ABORT key {storage.target_key} with this node's key {storage.settings.own_key}"
    steps = []
    if storage.arbitration is not ArbitrationMode.OFF:
        steps.append(f"arbitrate ({storage.arbitration}) on the first LUN of {where} by WWID: {remove}")
    steps.append(f"isolate {request.who} from every LUN of {where}: {remove}, then read back")
    return steps


def _storage_steps(goal: StorageGoal, request: Request, storage: StorageRequest) -> list[str]:
    settings = storage.settings
    match goal:
        case StorageGoal.FENCE:
            return _fence_steps(request, storage)
        case StorageGoal.REGISTER:
            return [
                f"register key {settings.own_key} on every path of {settings.where}",
                f"reserve ({settings.reservation_type.name}) where no reservation is held, then read back",
            ]
        case StorageGoal.STATUS:
            return [f"read the keys on {settings.where}"]
        case StorageGoal.MONITOR:
            return [f"read keys, reservation and capabilities of {settings.where}"]
