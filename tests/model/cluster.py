# SPDX-License-Identifier: Apache-2.0
"""What may happen next in a state of the cluster, and what it leads to. What must hold is checked at each step."""

from collections.abc import Iterator
from typing import TypeVar

from fencer.cluster.contact import Contact
from fencer.observations import ArbitrationResult
from fencer.storage.look import guard_key
from fencer.storage.pr import InAction, OutAction
from tests.model.procedures import Steps
from tests.model.state import Move, Node, Pair, Scenario, State
from tests.model.step import LOST, AskContact, AwaitSession, Command, End, Goal, Pending, PowerOff, ReadFile, WriteFile
from tests.model.target import Target, execute

NAMES = "ABC"
_T = TypeVar("_T", int, Pair)


class Cluster:
    """The moves of one scenario."""

    def __init__(self, scenario: Scenario, steps: Steps) -> None:
        self.scenario = scenario
        self.steps = steps
        self.late = 0
        self._keys = [scenario.setting.key(node) for node in range(scenario.setting.nodes)]

    def first(self) -> State:
        """All nodes registered in this boot, node A first, which so holds the reservation.

        Or, where the scenario begins so, node B fenced by A since, and booted.
        """
        setting = self.scenario.setting
        state = State(
            tuple(Target() for _ in range(setting.luns)),
            tuple(Node(met=not self.scenario.meetings) for _ in range(setting.nodes)),
            self.scenario.budget,
        )
        for number in range(setting.nodes):
            state = self._ended(self._begin(state, Goal("on", number)), number)
        if self.scenario.begins_fenced:
            state = self._booted(self._ended(self._begin(state, Goal("fence", 0, 1)), 0), 1)
        return state

    def _ended(self, state: State, number: int) -> State:
        """The agent of this node has ended, and nothing else has happened."""
        while state.nodes[number].procedure:
            move = self._executed(state, number)
            assert not move.broken
            state = move.after
        return state

    def moves(self, state: State) -> Iterator[Move]:
        """All that may happen next."""
        budget = state.budget
        for number, node in enumerate(state.nodes):
            name = NAMES[number]
            if node.procedure:
                yield from self._of_agent(state, number)
            elif node.up:
                yield from self._calls(state, number)
            if node.up and budget.relogins and any(target.key_of((number, 0)) for target in state.targets):
                after = self._logged_in_anew(state._replace(budget=budget.less("relogins")), number)
                yield Move(f"{name}: its sessions end, it has new ones", after)
            if budget.reboots and self._may_boot(state, number):
                yield Move(f"{name} boots", self._booted(state._replace(budget=budget.less("reboots")), number))
        apart = self.scenario.meetings and not all(node.met for node in state.nodes)
        if apart and all(node.up for node in state.nodes):
            nodes = tuple(node._replace(met=True, owes=False) for node in state.nodes)
            yield Move("the nodes meet", state._replace(nodes=nodes))

    # --- agents ---------------------------------------------------------------------------------------------------

    def _calls(self, state: State, number: int) -> Iterator[Move]:
        node, budget, name = state.nodes[number], state.budget, NAMES[number]
        if budget.fences:
            for victim in range(len(state.nodes)):
                if victim != number:
                    begun = self._begin(state._replace(budget=budget.less("fences")), Goal("fence", number, victim))
                    yield Move(f"{name} fences {NAMES[victim]}", begun)
        if budget.ons:
            begun = self._begin(state._replace(budget=budget.less("ons")), Goal("on", number))
            yield Move(f"{name} unfences itself (on)", begun)
        if budget.restores and node.dropped_at >= 0 and node.run is not None:
            goal = Goal("restore", number, generation=node.dropped_at)
            begun = self._begin(state._replace(budget=budget.less("restores")), goal)
            yield Move(f"{name}'s sidecar restores its key", begun)

    def _begin(self, state: State, goal: Goal) -> State:
        state = state.with_node(goal.node, state.nodes[goal.node]._replace(result=None))
        return self._reached(state, goal.node, self.steps.begin(goal)).after

    def _of_agent(self, state: State, number: int) -> Iterator[Move]:
        yield self._executed(state, number)
        name = NAMES[number]
        pending = self.steps.step(state.nodes[number].procedure).pending
        if isinstance(pending, Command) and state.budget.losses:
            lossy = state._replace(budget=state.budget.less("losses"))
            after = self._answered(lossy, number, LOST)
            yield after._replace(text=f"{name}: {_text(pending)}: lost on its way")
            if pending.cdb[0] != InAction.READ_KEYS.opcode:
                heard = self._executed(lossy, number, deaf=True)
                yield heard._replace(text=f"{heard.text}, and the answer is lost")
        if state.budget.crashes:
            killed = state._replace(budget=state.budget.less("crashes"))
            yield Move(f"{name}: the agent is killed", self._without_agent(killed, number))

    def _executed(self, state: State, number: int, deaf: bool = False) -> Move:
        """The agent's pending step is carried out."""
        name = NAMES[number]
        procedure = state.nodes[number].procedure
        pending = self.steps.step(procedure).pending
        match pending:
            case Command(lun, cdb, data_out):
                before = state.targets[lun]
                target, reply = execute(before, (number, 0), cdb, data_out, self.scenario.target)
                broken = self._removed(state, number, lun, target)
                state = self._noted(state, number, lun, target)
                move = self._answered(state, number, LOST if deaf else reply)
                text = f"{name}: {_text(pending)}: {_answer(target, reply)}"
                if self._is_half_a_look(move, number, pending) and not deaf:
                    move, text = self._executed(move.after, number), f"{name}: looks: {_answer(target, reply)}"
                return move._replace(text=text, broken=broken or move.broken)
            case WriteFile(file, content):
                state = state.with_node(number, state.nodes[number].with_file(file, content))
                return self._answered(state, number, None)._replace(text=f"{name} writes {file}: {content}")
            case AskContact():
                contact = Contact.MET if state.nodes[number].met else Contact.NEVER
                return self._answered(state, number, contact)._replace(text=f"{name} asks corosync: {contact.name}")
            case AwaitSession():
                return self._answered(state, number, None)._replace(text=f"{name}: the BMC opens a session")
            case PowerOff():
                victim = self.steps.goal(procedure).victim
                off = self._answered(state, number, None)
                return self._switched_off(off, number, victim)
            case _:
                raise AssertionError(pending)

    def _answered(self, state: State, number: int, answer: object) -> Move:
        """The agent gets this answer, and goes on to its next step."""
        return self._reached(state, number, self.steps.after(state.nodes[number].procedure, answer))

    def _reached(self, state: State, number: int, procedure: int) -> Move:
        """The agent goes on as far as no other node can notice, and what it has told is noted."""
        node, goal = state.nodes[number], self.steps.goal(procedure)
        outs = list(self.steps.step(procedure).outs)
        while True:
            match self.steps.step(procedure).pending:
                case ReadFile(name):  # its own
                    answer: object = node.file(name)
                case Command(lun, cdb, data_out) if self._is_constant(state, number, lun, cdb):
                    answer = execute(state.targets[lun], (number, 0), cdb, data_out, self.scenario.target)[1]
                case End(result, late):
                    self.late += late
                    node = node._replace(procedure=0, result=result)
                    break
                case _:
                    node = node._replace(procedure=procedure)
                    break
            procedure = self.steps.after(procedure, answer)
            outs += self.steps.step(procedure).outs
        return self._told(state.with_node(number, node), goal, outs)

    def _is_half_a_look(self, move: Move, number: int, pending: Command) -> bool:
        """Whether the keys are read next, after the reservation."""
        procedure = move.after.nodes[number].procedure
        if self.scenario.single_reads or not _is_read(pending, InAction.READ_RESERVATION) or not procedure:
            return False
        return _is_read(self.steps.step(procedure).pending, InAction.READ_KEYS)

    def _is_constant(self, state: State, number: int, lun: int, cdb: bytes) -> bool:
        """Whether the command is always answered alike: the target does not know it."""
        unknown = (InAction.REPORT_CAPABILITIES, InAction.READ_FULL_STATUS)
        reads = cdb[0] == InAction.READ_KEYS.opcode
        return reads and cdb[1] in unknown and (number, 0) not in state.targets[lun].attentions

    def _told(self, after: State, goal: Goal, outs: list[str]) -> Move:
        """Notes what an agent has told since its last step."""
        number, victim, broken = goal.node, goal.victim, ""
        for out in outs:
            word, _, lun = out.partition(" ")
            if word == "won":
                if self.scenario.won_by_look and self.scenario.target.forgets:
                    continue
                after = after._replace(won=_with(after.won, (number, victim)))
                broken = broken or _cycle(after.won, (number, victim), "have won against each other")
            elif word == "go":
                after = after._replace(power=_with(after.power, (number, victim)))
                broken = broken or _cycle(after.power, (number, victim), "have been given power over each other")
            elif word == "proved" and self._binds(after.nodes[victim], int(lun)):
                after = after._replace(proofs=_with(after.proofs, (victim, int(lun))))
        return Move("", after, broken or self._writes(after) or self._nobody(after))

    # --- what must hold -------------------------------------------------------------------------------------------

    @staticmethod
    def _binds(victim: Node, lun: int) -> bool:
        """Whether a proof is of the victim's present boot. Else it is of an earlier one, in which it was registered."""
        return victim.up and (lun in victim.counts or bool(victim.preempted))

    def _noted(self, before: State, number: int, lun: int, after: Target) -> State:
        """What a command of this node has done to the registrations of a LUN."""
        state, old = before.with_target(lun, after), before.targets[lun]
        for other, key in enumerate(self._keys):
            both = {key, guard_key(key)}
            node = state.nodes[other]
            if other != number and both & {*old.keys} and not both & {*after.keys}:
                met_before = self.scenario.met_before and node.met and node.up and not node.counts
                stale = self.scenario.stale_win and lun and 0 in node.counts and 0 not in node.preempted
                owes = node.owes or (self.scenario.meetings and not met_before and not stale)
                preempted = _with(node.preempted, lun) if lun in node.counts else node.preempted
                state = state.with_node(other, node._replace(preempted=preempted, owes=owes))
            elif other == number and lun not in node.counts and after.key_of((other, 0)) == key:
                unfences = self.steps.goal(node.procedure).what == "on"
                state = self._counting(state, other, lun) if unfences else state
        return state

    def _counting(self, state: State, number: int, lun: int) -> State:
        """A node registers on a LUN for the first time in its boot. Where it is the first one, older wins are over."""
        node = state.nodes[number]
        state = state.with_node(number, node._replace(counts=_with(node.counts, lun)))
        if node.counts:
            return state
        return state._replace(
            won=tuple(pair for pair in state.won if number not in pair),
            power=tuple(pair for pair in state.power if number not in pair),
        )

    def _removed(self, before: State, number: int, lun: int, after: Target) -> str:
        """What the command of this node breaks: it removes the key of the peer that has fenced it."""
        node = before.nodes[number]
        if not node.owes or (self.scenario.stale_win and node.preempted and lun):
            return ""
        gone = [key for other, key in enumerate(self._keys) if other != number and key in before.targets[lun].keys]
        if any(key not in after.keys for key in gone):
            return f"{NAMES[number]} was fenced, has not met its peer since, and removes the peer's key"
        return ""

    def _writes(self, state: State) -> str:
        for number, node in enumerate(state.nodes):
            for lun, target in enumerate(state.targets):
                if lun in node.preempted and self._keys[number] in target.keys:
                    return f"{NAMES[number]}'s key was removed in this boot, and is there again"
                if (number, lun) in state.proofs and node.up and target.admits_write((number, 0)):
                    guarded = target.key_of((number, 0)) == guard_key(self._keys[number])
                    free = target.holder is None and self.scenario.target.forgets
                    known = (self.scenario.window and guarded) or (self.scenario.holder_may_go and free)
                    elsewhere = bool(node.preempted) and lun not in node.preempted and self._unfences(node)
                    if not known and not (self.scenario.unfencing and elsewhere):
                        return f"{NAMES[number]} can write to LUN {lun} after the proof that it cannot"
        return ""

    def _unfences(self, node: Node) -> bool:
        return bool(node.procedure) and self.steps.goal(node.procedure).what == "on"

    def _nobody(self, state: State) -> str:
        """Where nothing was lost or killed, a race of two nodes has exactly one winner."""
        first = self.scenario.budget
        spared = state.budget._replace(fences=first.fences) == first
        if not spared or state.budget.fences or len(state.nodes) != 2 or first.fences != 2:
            return ""
        results = [node.result for node in state.nodes]
        if None in results or any(node.procedure for node in state.nodes):
            return ""
        return "" if results.count(ArbitrationResult.WON) == 1 else f"the race of two has no winner: {results}"

    # --- nodes ----------------------------------------------------------------------------------------------------

    def _may_boot(self, state: State, number: int) -> bool:
        """With slack no command of a BMC is so slow that its target boots meanwhile."""
        if not self.scenario.slack:
            return True
        return not any(
            node.procedure
            and isinstance(self.steps.step(node.procedure).pending, PowerOff)
            and self.steps.goal(node.procedure).victim == number
            for node in state.nodes
        )

    def _without_agent(self, state: State, number: int) -> State:
        return state.with_node(number, state.nodes[number]._replace(procedure=0, result=None))

    def _logged_in_anew(self, state: State, number: int) -> State:
        for lun, target in enumerate(state.targets):
            after = target.relogin(number, self.scenario.target)
            if self._keys[number] in target.keys and self._keys[number] not in after.keys:
                node = state.nodes[number]
                state = state.with_node(number, node._replace(dropped_at=target.generation))
            state = state.with_target(lun, after)
        return state

    def _booted(self, state: State, number: int) -> State:
        node = state.nodes[number]
        state = self._logged_in_anew(state, number)
        node = node._replace(
            up=True,
            procedure=0,
            counts=(),
            preempted=(),
            dropped_at=-1,
            run=None,
            persistent_now=False,
            met=not self.scenario.meetings,
            result=None,
        )
        state = state.with_node(number, node)
        return state._replace(proofs=tuple(pair for pair in state.proofs if pair[0] != number))

    def _switched_off(self, move: Move, number: int, victim: int) -> Move:
        """The command of node number's BMC session is executed. Without slack, so is one that the victim had sent."""
        node = move.after.nodes[victim]
        text = f"{NAMES[number]}'s command to the BMC switches {NAMES[victim]} off"
        after = move.after.with_node(victim, node._replace(up=False, procedure=0, result=None))
        if self.scenario.slack or not node.procedure:
            return Move(text, after, move.broken)
        if not isinstance(self.steps.step(node.procedure).pending, PowerOff):
            return Move(text, after, move.broken)
        other = self.steps.goal(node.procedure).victim
        after = after.with_node(other, after.nodes[other]._replace(up=False, procedure=0, result=None))
        broken = "" if any(each.up for each in after.nodes) else "all nodes were switched off"
        return Move(f"{text}, and its command, under way already, {NAMES[other]}", after, move.broken or broken)


def _with(several: tuple[_T, ...], one: _T) -> tuple[_T, ...]:
    return tuple(sorted(set(several) | {one}))


def _cycle(pairs: tuple[Pair, ...], newest: Pair, what: str) -> str:
    """Why the newest pair closes a ring of nodes each of which has beaten the next one; "" where it does not."""
    reached = {newest[1]}
    for _ in pairs:
        reached |= {loser for winner, loser in pairs if winner in reached}
    return f"{' and '.join(NAMES[node] for node in sorted(reached))} {what}" if newest[0] in reached else ""


def _is_read(pending: Pending, action: InAction) -> bool:
    return isinstance(pending, Command) and pending.cdb[:2] == bytes((action.opcode, action))


def _text(pending: Pending) -> str:
    assert isinstance(pending, Command)
    if pending.cdb[0] == InAction.READ_KEYS.opcode:
        return str(InAction(pending.cdb[1]))
    key, service_key = (int.from_bytes(pending.data_out[at : at + 8]) for at in (0, 8))
    return f"{OutAction(pending.cdb[1])} key {_key(key)}, service action key {_key(service_key)}"


def _key(value: int) -> str:
    if not value:
        return "0"
    return NAMES[value - 1] if value <= len(NAMES) else f"guard of {NAMES[value - (1 << 63) - 1]}"


def _answer(target: Target, reply: object) -> str:
    status = getattr(reply, "status", None)
    keys = " ".join(f"{_key(key)}{'' if nexus[1] == 0 else ' (old session)'}" for nexus, key in target.registrations)
    return f"{getattr(status, 'name', status)} [generation {target.generation}: {keys or 'no key'}]"
