# SPDX-License-Identifier: Apache-2.0
"""The demo's acts. Each shows what is done and what was seen, and checks every claim it makes."""

import re
import time
from contextlib import AbstractContextManager

from fencer.storage.look import Look
from tests.demo.interrupts import Interrupts
from tests.demo.stage import ONLY_HERE, Call, Stage
from tests.demo.story import Story
from tests.demo.writer import BLOCK_BYTES, CONFLICT, Write, Writer, block, lba

VICTIM, SURVIVOR = "serv-0001", "serv-0002"
SHORT_DEADLINE_S = 4
SHORT_LOGIN_S = 2
WRITES_BEFORE = 20
LISTEN_AFTER_S = 0.2
NOT_OFF = re.compile(r"was\s+not\s+(seen\s+)?powered\s+off")
DEADLINE_SLACK_S = 10  # by the agent's own clock
PROCESS_S = 30  # to start and end Python, on a machine that does other things, too


class Demo:
    """Plays on one stage, tells one story."""

    def __init__(self, stage: Stage, story: Story, interrupts: Interrupts) -> None:
        self._stage = stage
        self._story = story
        self._interrupts = interrupts
        self._keys = {stage.key(name): name for name in (VICTIM, SURVIVOR)}

    # --- the stage ------------------------------------------------------------------------------------------------

    def introduce(self) -> None:
        stage, story = self._stage, self._story
        story.say(
            "Two nodes share one disk. One of them stops answering. Before the other one may take the disk over, it "
            "must be certain that the first one writes no more. These run now, on this host's loopback:"
        )
        story.gap()
        story.rows(
            [
                ("BMC of serv-0001", f"ipmi_sim, IPMI 2.0 (RMCP+), {stage.bmcs[VICTIM].address} port 623"),
                ("BMC of serv-0002", f"ipmi_sim, IPMI 2.0 (RMCP+), {stage.bmcs[SURVIVOR].address} port 623"),
                ("shared disk", f"tgtd, one LUN: {stage.target.url(1)}"),
                ("cluster.conf", 'two nodes, a <fencedevice agent="fence_halvm"> for each:'),
            ]
        )
        story.seen(self._device_lines())
        story.gap()
        story.say(
            "Different from two real servers: the LUN is named by an iscsi:// URL (devices=), not by its volume group "
            "(vg=), since this host has no /dev/sdb; both agents run on this host, so each is told who it is "
            "(local_node, state_dir, journal, cluster_conf); and a BMC's chassis is a file: no machine hangs on it, so "
            "the writer below survives its own power cut. It plays the node that never stops."
        )

    def _device_lines(self) -> list[str]:
        lines = self._stage.cluster_conf.read_text().splitlines()
        return [line.strip() for line in lines if line.strip().startswith("<fencedevice ")]

    # --- act 1 ----------------------------------------------------------------------------------------------------

    def register(self) -> None:
        story = self._story
        story.act("1. Both nodes register at the disk (unfence)")
        story.say(
            "fenced starts the agent without arguments and writes what cluster.conf says to its stdin, a line each "
            "(folded here: first fenced's lines, then the demo's own):"
        )
        story.gap()
        self._unfence(VICTIM, whole=True)
        self._unfence(SURVIVOR, whole=False)
        look = self._show_keys("Keys at the LUN")
        story.check("both nodes' keys are registered", look.keys == set(self._keys), look)
        story.check("a reservation is held: only registered nodes may write", look.reservation.type is not None, look)

    # --- act 2 ----------------------------------------------------------------------------------------------------

    def fence(self) -> None:
        stage, story = self._stage, self._story
        story.act(f"2. {VICTIM} writes; {SURVIVOR} fences it")
        with self._writer("first life") as writer:
            self._writes(writer)
            self._show_keys("Keys before")
            story.gap()
            story.say(f"fenced on {SURVIVOR} calls the agent, as it does when {VICTIM} has left the cluster unasked:")
            story.gap()
            call = self._call(stage.fence_lines(VICTIM, on=SURVIVOR))
            self._show_answer(call)
            story.gap()
            story.say(
                f"As long as it took to find the LUNs, {SURVIVOR} then waited: that is its rank. A node that has the "
                "volume group active would have gone first."
            )
            log = [event for event in stage.bmcs[VICTIM].log() if event.at_s >= call.began_boot_s - 0.02]
            story.gap()
            story.say(f"The log of {VICTIM}'s BMC (seconds from the call; its clock ticks 0.01 s):")
            story.seen(f"{event.at_s - call.began_boot_s:7.2f}  {_in_words(event.words)}" for event in log)
            story.gap()
            refused = self._show_refusal(writer, call)
            look = self._show_keys("Keys after")
            story.gap()
            words = [" ".join(event.words) for event in log]
            story.check("the agent said: Rebooted, exit status 0", _succeeded(call, "Success: Rebooted"), call.stderr)
            story.check(
                "the BMC cut the power, and power came back only after it was read back off",
                _in_order(words, "set power 0", "now off", "get power", "set power 1", "now on"),
                words,
            )
            story.check(f"the other BMC was left alone: {SURVIVOR} is on", self._untouched(SURVIVOR))
            self._check_isolated(writer, refused, call, look)
            story.check(
                "the verdict names both proofs", "proved by power" in call.stderr and "and storage" in call.stderr
            )

    # --- act 3 ----------------------------------------------------------------------------------------------------

    def fence_without_bmc(self) -> None:
        stage, story = self._stage, self._story
        story.act("3. The same with a dead BMC, and the operator's word that the disk suffices (proof=any)")
        stage.reboot(VICTIM)
        again = stage.call(stage.unfence_lines(VICTIM))
        story.say(f"{VICTIM} has booted, so it may register again; it writes again. Then its BMC dies.")
        story.check(f"{VICTIM} is registered again", again.status == 0, again.stderr)
        version = stage.configure({"proof": "any", "login_timeout": str(SHORT_LOGIN_S)})
        story.gap()
        story.say(
            f'cluster.conf, version {version}, has proof="any" now, and login_timeout="{SHORT_LOGIN_S}" (not 5): how '
            "long the BMC may keep the agent waiting once the disk has been proved."
        )
        story.gap()
        with self._writer("second life") as writer:
            self._writes(writer)
            stage.bmcs[VICTIM].stop()
            self._show_keys("Keys before")
            story.gap()
            call = self._call(
                stage.fence_lines(VICTIM, on=SURVIVOR), only=("nodename", "ipaddr", "proof", "login_timeout")
            )
            self._show_answer(call)
            story.gap()
            refused = self._show_refusal(writer, call)
            look = self._show_keys("Keys after")
            story.gap()
            story.check("success, exit status 0", call.status == 0, call.stderr)
            story.check(
                "the verdict names storage as its only proof, and says that no power-off was seen",
                "proved by storage" in call.stderr and bool(NOT_OFF.search(call.stderr)),
                call.stderr,
            )
            self._check_isolated(writer, refused, call, look)

    # --- act 4 ----------------------------------------------------------------------------------------------------

    def refuse_without_word(self) -> None:
        stage, story = self._stage, self._story
        story.act("4. The dead BMC again, without that word (the default)")
        version = stage.configure({"deadline": str(SHORT_DEADLINE_S)})
        story.say(
            f"cluster.conf, version {version}: proof= is gone, so an observed power-off is wanted, since a BMC is "
            f'configured; deadline="{SHORT_DEADLINE_S}" (not 30) for a short demo.'
        )
        story.gap()
        call = self._call(stage.fence_lines(VICTIM, on=SURVIVOR), only=("nodename", "ipaddr", "deadline"))
        self._show_answer(call)
        story.gap()
        look = self._show_keys("Keys after")
        story.gap()
        story.check("failure, exit status 1: nobody saw the power go off", call.status == 1, call.stderr)
        story.check("no success text on stdout", "Success" not in call.stdout, call.stdout)
        said = re.findall(r", in ([0-9.]+) s$", call.stderr, re.MULTILINE)
        story.check(
            f"it ended at its deadline: {call.took_s:.2f} s for {SHORT_DEADLINE_S} s, Python's start and end included",
            len(said) == 1
            and float(said[0]) <= SHORT_DEADLINE_S + DEADLINE_SLACK_S
            and SHORT_DEADLINE_S - 0.1 <= call.took_s <= SHORT_DEADLINE_S + PROCESS_S,
        )
        story.check(f"the disk stays shut to {VICTIM} all the same", look.shuts_out(stage.key(VICTIM)), look)

    # --- what several acts do -------------------------------------------------------------------------------------

    def _writer(self, run: str) -> AbstractContextManager[Writer]:
        stage = self._stage
        return Writer(self._interrupts, stage.target.url(1), stage.initiator(VICTIM), stage.key(VICTIM), run)

    def _writes(self, writer: Writer) -> None:
        """Waits until the writer writes."""
        writer.await_write(lambda write: write.number >= WRITES_BEFORE)
        last = writer.writes[-1]  # later than the awaited one where several answers came at once
        self._story.say(
            f"{VICTIM} writes: its own iSCSI session, its initiator name, its key registered on that session. "
            f"{len(writer.accepted)} blocks so far."
        )
        self._story.check(
            "every write was accepted, the last one is on the disk",
            writer.first_refused is None and self._is_on_disk(writer, last),
            writer.first_refused,
        )
        self._story.gap()

    def _unfence(self, name: str, *, whole: bool) -> None:
        call = self._call(self._stage.unfence_lines(name), only=() if whole else ("action", "nodename", "ipaddr"))
        self._show_answer(call)
        self._story.check(f"{name}: exit status 0", _succeeded(call, "Success: "), call.stderr)
        self._story.gap()

    def _call(self, lines: list[str], only: tuple[str, ...] = ()) -> Call:
        """Runs the agent and shows its stdin, a group of lines folded into one: all, or those worth a second look."""
        own = [line for line in lines if line.partition("=")[0] in ONLY_HERE]
        fenced = [line for line in lines if line not in own]
        shown = [line for line in fenced if not only or line.partition("=")[0] in only]
        if only:
            self._story.command("fence_halvm", ["  ".join([*shown, "…"])])
        else:
            self._story.command("fence_halvm", ["  ".join(shown), "  ".join(own)])
        return self._stage.call(lines)

    def _show_answer(self, call: Call) -> None:
        self._story.seen(call.stdout.splitlines(), "out")
        self._story.seen(call.said, "err")
        self._story.seen([f"exit status {call.status}, {call.took_s:.2f} s from start to end of the process"], "  =")

    def _show_keys(self, title: str) -> Look:
        look, registrations = self._stage.look()
        holder = look.reservation.holder
        rows = []
        for key in sorted(look.keys):
            count = registrations.count(key)
            sessions = f"{count} sessions" if count > 1 else "1 session"
            held = "; holds the reservation" if key == holder else ""
            rows.append((f"{key}", f"{self._keys.get(key, 'unknown')} ({sessions}{held})"))
        self._story.say(f"{title}, read by a third party:")
        self._story.rows(rows or [("none", "")])
        return look

    def _show_refusal(self, writer: Writer, call: Call) -> Write:
        """Shows how the writer fared around the fence; its first RESERVATION CONFLICT."""
        refused = writer.await_write(lambda write: write.answer == CONFLICT)
        writer.listen(max(LISTEN_AFTER_S, call.ended_s + LISTEN_AFTER_S - time.monotonic()))
        story, last = self._story, writer.accepted[-1]
        around = [write for write in writer.writes if last.number - 1 <= write.number <= refused.number + 1]
        story.say(f"What {VICTIM}, still writing every 0.01 s, was answered (seconds from the call):")
        story.seen(f"{write.at_s - call.began_s:7.3f}  write {write.number:<4}  {write.answer}" for write in around)
        after = writer.writes[-1].number - refused.number - 1
        if after > 0:
            story.seen([f"{'':7}  … and so were the {after} writes after it"])
        story.gap()
        return refused

    def _check_isolated(self, writer: Writer, refused: Write, call: Call, look: Look) -> None:
        stage, story = self._stage, self._story
        last = writer.accepted[-1]
        key = stage.key(VICTIM)
        story.check(f"{VICTIM}'s next write was refused: {CONFLICT}", refused.answer == CONFLICT)
        story.check(
            f"none was accepted after that ({writer.writes[-1].number - last.number} tried), none after the verdict",
            all(not write.accepted for write in writer.writes[last.number :])
            and last.number < refused.number
            and last.at_s < call.ended_s,
        )
        story.check(
            f"on the disk itself, write {last.number} is the last one; write {refused.number} never reached it",
            self._is_on_disk(writer, last) and not self._is_on_disk(writer, refused),
        )
        story.check(
            f"{VICTIM}'s key is gone, the reservation is held by {SURVIVOR}",
            look.shuts_out(key) and look.reservation.holder == stage.key(SURVIVOR),
            look,
        )

    def _is_on_disk(self, writer: Writer, write: Write) -> bool:
        return self._stage.on_disk(lba(write.number), BLOCK_BYTES) == block(writer.run, write.number)

    def _untouched(self, name: str) -> bool:
        bmc = self._stage.bmcs[name]
        return bmc.power == "on" and not bmc.commands()


def _succeeded(call: Call, text: str) -> bool:
    return call.status == 0 and text in call.stdout


def _in_order(words: list[str], *wanted: str) -> bool:
    """Whether wanted is a subsequence of words."""
    rest = iter(words)
    return all(any(word == each for word in rest) for each in wanted)


def _in_words(words: tuple[str, ...]) -> str:
    meanings = {
        "set power 0": "Chassis Control: hard off",
        "set power 1": "Chassis Control: on",
        "now off": "the chassis is off",
        "now on": "the chassis is on",
        "get power": "Get Chassis Status",
    }
    text = " ".join(words)
    return f"{text:<12}  {meanings.get(text, '')}".rstrip()
