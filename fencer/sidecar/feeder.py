# SPDX-License-Identifier: Apache-2.0
"""The feeder: one thread that takes reports, asks the policy, feeds the watchdog, and publishes its state.

It never waits for a disk, another process or the storage: the supervisor, the observer and the publisher do what might
wait. The only exception is the moment before a self-fence, and that is bounded.
"""

import select
import time
from _socket import SHUT_WR

from fencer.errors import FenceError, WatchdogNotYet
from fencer.readable import readable
from fencer.sidecar.children import OBSERVER
from fencer.sidecar.control import Pause, Question
from fencer.sidecar.environment import Ended, Environment, ExitStatus, Signals
from fencer.sidecar.keepalive import FEEDS, NOT_ARMED, Feeding
from fencer.sidecar.links import Links
from fencer.sidecar.messages import (
    LINE_CHARS,
    PUBLISH_INTERVAL_S,
    Began,
    Begin,
    BeginRefused,
    ChildEnded,
    Config,
    ConfigRefused,
    Configured,
    FeederStatus,
    Level,
    ListChecked,
    ReadConfig,
    ReplaceObserver,
    Unregister,
    Unregistered,
)
from fencer.sidecar.observer_link import ObserverLink
from fencer.sidecar.pauses import Pauses
from fencer.sidecar.policy import Decision, Policy, with_reasons
from fencer.sidecar.publisher_link import PublisherLink
from fencer.sidecar.sentences import armed, left_behind, left_running, not_served
from fencer.sidecar.settings import SelfFenceBy, bound_s, changed
from fencer.state.snapshot import PolicyState, SelfFence

READY_S = 30.0
"""When the unit counts as ready although nothing is armed: Pacemaker, which waits for it, must not wait for storage
that is away. The node then joins, and runs no service. It waits so long since iSCSI logs in meanwhile."""

ARM_AGAIN_S = 2.0
"""Time between two attempts to open a watchdog that is not there yet, or in use."""

PUBLISH_SLACK_S = 0.25
"""The status goes out so much before it is due when reports have come, and so much after it when none have: they come
once a second, too, and one wake-up does for both."""

LONG_TURN_S, REST_TIMES, UNARMED_REST_S = 0.01, 3, 1.0
"""After a turn that took so long, nothing starts another one for so many times as long, decide_interval_s at most.
While no watchdog runs it is UNARMED_REST_S. The feeder is real-time: at the start of 64 LUNs each report has it judge
all of them, and on a slow processor that left nothing for the observer, which makes the reports."""

UNREGISTER_S = 10.0
STOP_S = 1.0
RECORD_CHARS = 4000

_DIGITS = str.maketrans("", "", "0123456789.")


class Daemon:
    """One run, from the first look to the end."""

    def __init__(self, config: Config, links: Links, environment: Environment, signals: Signals) -> None:
        self._config = config
        self._links = links
        self._publisher = PublisherLink(links.publisher)
        self._environment = environment
        self._signals = signals
        self._began_unix_s = time.time()
        now = environment.clock()
        # Nothing is fed before a look, whatever a predecessor left: a node that was fenced meanwhile would get another
        # timeout to live. Only a pause that still runs is an operator's word that the storage may be away.
        paused = environment.resumed and environment.paused_until_s is not None
        self._policy = Policy(config.settings.policy, now, resumed=paused)
        self._pauses = Pauses(self._policy, self._publisher, config.node, environment.paused_until_s)
        self._feeding: Feeding | None = None
        self._arm_again_s, self._ready_by_s = now, now + READY_S
        self._unarmed = ""
        self._ready = False
        self._disarmed: bool | None = False
        self._decision = Decision(PolicyState.STARTING)
        self._told: tuple[object, ...] = ()
        self._fencing = False
        self._stop_by_s: float | None = None
        self._unregistered: Unregistered | None = None
        self._publish_s = now
        self._observer_restarts = 0
        self._complaints: dict[str, str] = {}
        self._list_reasons: tuple[str, ...] = ()
        self._observer = ObserverLink(links, self._publisher, self._policy, environment.generations)
        self._poll = select.poll()
        for one in (links.observer, links.supervisor, links.publisher, environment.control, signals):
            self._poll.register(one, select.POLLIN)
        links.supervisor.send(Begin(config, self._began_unix_s, environment.generations, environment.luns))

    def run(self) -> Ended:
        """Takes turns until the end."""
        began_s = self._environment.clock()
        while (ended := self._turn()) is None:
            self._publisher.flush()
            self._rest(self._environment.clock() - began_s)
            self._wait()
            began_s = self._environment.clock()
        self._publisher.flush()
        return ended

    def _rest(self, took_s: float) -> None:
        """Leaves the processor to others after a turn that took so long."""
        if took_s < LONG_TURN_S:
            return
        if self._feeding is None and not self._environment.resumed:
            time.sleep(UNARMED_REST_S)
        else:
            time.sleep(min(REST_TIMES * took_s, self._config.settings.timing.decide_interval_s))

    def _wait(self) -> None:
        until_s = self._environment.clock() + self._config.settings.timing.decide_interval_s
        if self._is_steady:
            until_s = min(max(until_s, self._policy.stale_from_s), self._publish_s + PUBLISH_SLACK_S)
        if self._feeding is not None and not self._fencing:
            until_s = min(until_s, self._feeding.due_s)
        self._poll.poll(max(0.0, until_s - self._environment.clock()) * 1000)

    @property
    def _is_steady(self) -> bool:
        """Whether no decision can change by time alone before Policy.stale_from_s."""
        steady = self._decision.state in (PolicyState.KEEPALIVE, PolicyState.DEGRADED)
        runs = self._feeding is not None and not self._fencing and not self._signals.stop
        return runs and steady and self._decision.grace_remaining_s is None

    def _turn(self) -> Ended | None:
        """Takes all reports before it decides: after a stall of the feeder they are all there, and a decision on the
        reports from before the stall would take the stall for a loss."""
        self._signals.drain()
        has_heard = self._observer.hear()
        if (ended := self._hear_supervisor()) is not None:
            return ended
        self._publisher.is_recorded()
        now = self._environment.clock()
        decision = self._decision = self._policy.decide(now)
        if self._feeding is not None and self._policy.needs_new_observer():
            self._links.supervisor.send(ReplaceObserver())
        if (ended := self._act(decision, now, has_heard)) is not None:
            return ended
        if self._feeding is not None:
            decision = self._feeding.judged(decision)
        elif decision.state in FEEDS:
            decision = Decision(PolicyState.STARTING, (self._unarmed, *decision.reasons))
        decision = self._decision = with_reasons(decision, self._list_reasons)
        self._be_ready(now)
        self._obey_operator(now)
        slack_s = PUBLISH_SLACK_S if self._is_steady else 0.0
        self._tell(decision, now, now + slack_s if has_heard else now - slack_s)
        return self._stop(now)

    # --- acting -----------------------------------------------------------------------------------------------------

    def _act(self, decision: Decision, now: float, has_heard: bool) -> Ended | None:
        if self._fencing:
            return None  # decided once: nothing arms or feeds any more, whatever the policy says
        if decision.state is PolicyState.SELF_FENCE:
            if self._feeding is None and not self._environment.resumed:
                return not_served(decision)
            self._fencing = True
            self._self_fence(decision, now)
            return None
        if decision.state not in FEEDS:
            return None
        if self._feeding is None:
            return self._arm(now)
        if now >= (self._feeding.early_s if has_heard else self._feeding.due_s):
            self._feed(self._feeding, now)
        return None

    def _arm(self, now: float) -> Ended | None:
        """Opens the watchdog. One that is not there yet, or in use, is tried again later."""
        if now < self._arm_again_s:
            return None
        try:
            self._feeding = Feeding(self._environment.arm(), now)
        except WatchdogNotYet as error:
            if error.restart:
                return Ended(ExitStatus.TRY_AGAIN, str(error))
            self._unarmed = f"nothing is armed: {error}"
            self._arm_again_s = now + ARM_AGAIN_S
            return None
        except FenceError as error:
            return Ended(ExitStatus.MISCONFIGURED, str(error))
        for level, sentence in armed(self._feeding):
            self._publisher.line(level, sentence)
        return None

    def _feed(self, feeding: Feeding, now: float) -> None:
        known = bool(feeding.problem)
        try:
            feeding.feed(now)
        except FenceError as error:
            if not known:
                self._publisher.line(Level.ERROR, str(error))

    def _be_ready(self, now: float) -> None:
        """Reports readiness to systemd once, so that units that wait for this one start."""
        service = self._environment.service
        late = now >= self._ready_by_s and not service.waits_for_arming
        if not self._ready and (self._feeding is not None or late):
            self._ready = True
            service.tell("READY=1")

    def _self_fence(self, decision: Decision, now: float) -> None:
        """Stops feeding, writes the reason within a bounded time, then does what self_fence says."""
        cause = decision.cause.value if decision.cause is not None else "unknown"
        reason = f"{cause}: {decision.reasons[0]}"[:RECORD_CHARS]
        by = self._config.settings.self_fence
        if by is SelfFenceBy.RESET:
            self._environment.reset.say(f"self-fence: {reason}")
        record = SelfFence(reason, self._config.node, self._environment.boot_id, time.time(), now)
        self._publisher.send(record)
        match by:
            case SelfFenceBy.RESET:
                self._publisher.await_record()
                self._environment.reset.now()
                self._publisher.line(Level.ERROR, "the reset failed: the watchdog has to do it")
            case SelfFenceBy.WATCHDOG:
                self._publisher.line(Level.ERROR, "no longer feeding: the watchdog resets this node")
            case SelfFenceBy.NONE:
                self._publisher.line(Level.ERROR, 'self_fence = "none": this node SHOULD BE RESET AND IS NOT')

    # --- the end ----------------------------------------------------------------------------------------------------

    def _stop(self, now: float) -> Ended | None:
        if not self._signals.stop:
            return None
        if self._fencing:
            return None  # a close would feed the watchdog once more
        if self._stop_by_s is None:
            self._stop_by_s = now
            self._environment.service.tell("STOPPING=1")
            if self._config.settings.unregister_on_stop and self._feeding is not None:
                self._stop_by_s = now + UNREGISTER_S
                self._links.supervisor.send(Unregister(self._config.observer))
        if self._unregistered is None and now < self._stop_by_s:
            return None
        sentences = self._last_words()
        for sentence in sentences:
            self._publisher.line(Level.ERROR, sentence)
        self._publish(now, stopped=True)
        self._publisher.flush()
        self._links.publisher.shutdown(SHUT_WR)
        until_s = time.monotonic() + STOP_S
        while (left_s := until_s - time.monotonic()) > 0 and readable([self._links.supervisor], left_s):
            message = self._links.supervisor.receive()
            if message is None or isinstance(message, ChildEnded):  # the publisher has written all and ended
                break
        return Ended(ExitStatus.STOPPED, "\n".join(sentences))

    def _last_words(self) -> list[str]:
        """Disarms, and returns what an orderly stop leaves behind."""
        sentences = []
        feeding, decision = self._feeding, self._decision
        if self._config.settings.unregister_on_stop and feeding is not None:
            problem = "no answer" if self._unregistered is None else self._unregistered.problem
            sentences += [f"the key was not removed: {problem}"] if problem else []
        if feeding is not None:
            self._disarmed = feeding.watchdog.disarm()
            sentences += left_behind(feeding.watchdog.support, self._disarmed, decision)
        if feeding is None and (left := self._environment.left) is not None:
            sentences.append(left_running(left))
        return sentences

    # --- hearing ----------------------------------------------------------------------------------------------------

    def _hear_supervisor(self) -> Ended | None:
        while select.select([self._links.supervisor], [], [], 0)[0]:
            match self._links.supervisor.receive():
                case None:
                    # No process can start an observer again. The watchdog goes on ticking: a successor has its timeout.
                    return Ended(ExitStatus.BROKEN, "the supervisor process has ended: start halvm-watchdogd again")
                case ChildEnded(name, reason, misuse):
                    if name == OBSERVER:
                        self._observer_restarts += not misuse
                        self._policy.explain_silence(reason)
                    if self._complaints.get(name) != reason:
                        self._complaints[name] = reason
                        self._publisher.line(Level.WARNING, f"{name}: {reason}")
                case ListChecked(reasons):
                    self._list_reasons = reasons
                case Configured(config):
                    self._reconfigure(config)
                case Began(config):
                    self._reconfigured(config)
                case BeginRefused(reason):
                    self._publisher.line(Level.ERROR, f"not reloaded: {reason}; everything goes on as before")
                case ConfigRefused(complaints):
                    for complaint in complaints.splitlines():
                        self._publisher.line(Level.ERROR, f"not reloaded: {complaint}")
                case Unregistered() as answer:
                    self._unregistered = answer
        return None

    def _reconfigure(self, new: Config) -> None:
        if self._fencing:
            self._publisher.line(Level.ERROR, "not reloaded: this node is fencing itself")
            return
        reloaded, refused = changed(self._config.settings, new.settings)
        if new._replace(settings=self._config.settings, observer=self._config.observer) != self._config:
            refused = (*refused, "the cluster's configuration")
        if refused:
            self._publisher.line(
                Level.ERROR, f"not reloaded: {', '.join(refused)} changes by a restart only; nothing was changed"
            )
            return
        if not reloaded:
            self._publisher.line(Level.NOTICE, "reloaded: nothing has changed")
            return
        self._links.supervisor.send(Begin(new, self._began_unix_s))  # it answers when all that is new has begun

    def _reconfigured(self, new: Config) -> None:
        if self._fencing:
            return
        reloaded, _ = changed(self._config.settings, new.settings)
        self._config = new
        now = self._publish_s = self._environment.clock()  # the bound that holds from now on is published at once
        self._policy.reconfigure(new.settings.policy, now)
        self._publisher.send(new)
        self._publisher.line(Level.NOTICE, f"reloaded: {', '.join(reloaded)}")

    # --- the operator -----------------------------------------------------------------------------------------------

    def _obey_operator(self, now: float) -> None:
        if self._signals.reload:
            self._signals.reload = False
            self._links.supervisor.send(ReadConfig(self._config.settings.source))
        while (question := self._environment.control.receive()) is not None:
            self._answer(question, now)
        self._pauses.expire(now)

    def _answer(self, question: Question, now: float) -> None:
        control = self._environment.control
        if isinstance(question.order, Pause) and (self._feeding is None or self._fencing):
            when = "" if self._fencing else ": try again when status says keepalive"
            control.answer(question, f"not now: the state is {self._decision.state}{when}", done=False)
            return
        text, has_changed = self._pauses.obey(question.order, now)
        if has_changed:
            self._decision = self._policy.decide(self._environment.clock())
            self._publish(self._environment.clock())
        control.answer(question, text)

    # --- telling ----------------------------------------------------------------------------------------------------

    def _tell(self, decision: Decision, now: float, publish_by_s: float) -> None:
        told = (decision.state, *(reason.translate(_DIGITS) for reason in decision.reasons))
        # While it starts, each path and LUN that is seen changes the reasons.
        hurried = decision.state is PolicyState.STARTING and self._told[:1] == told[:1] and now < self._publish_s
        if told != self._told and not hurried:
            self._told = told
            text = f"{decision.state}" + (f": {'; '.join(decision.reasons)}" if decision.reasons else "")
            level = Level.NOTICE if decision.state in (PolicyState.KEEPALIVE, PolicyState.STARTING) else Level.WARNING
            self._publisher.line(level, text)
            self._environment.service.tell(f"STATUS={text[:500]}")
            self._publish_s = now
        if publish_by_s >= self._publish_s:
            self._publish(now)
            self._environment.service.alive()

    def _publish(self, now: float, *, stopped: bool = False) -> None:
        self._publish_s = now + PUBLISH_INTERVAL_S
        settings = self._config.settings
        watchdog = (self._environment.left or NOT_ARMED) if self._feeding is None else self._feeding.snapshot()
        if stopped and self._feeding is not None:
            watchdog = watchdog._replace(armed=watchdog.armed and self._disarmed is not True)
        self._publisher.send(
            FeederStatus(
                at_s=now,
                decision=self._decision,
                stopped=stopped,
                settings=settings,
                watchdog=watchdog,
                bound_s=bound_s(settings.timing, watchdog.timeout_s or settings.watchdog_timeout_s),
                paused_until_s=self._pauses.until_s,
                registrations=self._observer.registrations,
                observer_restarts=self._observer_restarts,
                luns_unsettled="; ".join((*self._list_reasons, *self._policy.joining))[:LINE_CHARS],
                not_granted=self._environment.not_granted,
            )
        )
