# SPDX-License-Identifier: Apache-2.0
"""The feeder's link to the observing process: takes its reports to the policy, and hands them on to the publisher."""

from _pickle import loads  # as in fencer.worker

from fencer.sidecar.links import BUFFER_BYTES, Links
from fencer.sidecar.messages import Generations
from fencer.sidecar.policy import Policy
from fencer.sidecar.publisher_link import PublisherLink
from fencer.sidecar.reports import LISTED, LunSeen, Registered, Report

MESSAGES_A_TURN = 4096

_REPORTS = Report.__args__


class ObserverLink:
    """It waits for nothing. registrations: how many Registered there were.

    generations: by WWID, the PR generation of the latest reading that listed this node's key, as an earlier run in this
    boot had it. The supervisor is given each new one, for the next observing process.
    """

    def __init__(
        self, links: Links, publisher: PublisherLink, policy: Policy, generations: tuple[tuple[str, int], ...]
    ) -> None:
        self.registrations = 0
        self._links = links
        self._publisher = publisher
        self._policy = policy
        self._generations = dict(generations)

    def hear(self) -> bool:
        """Takes all that has come. Whether there were reports."""
        has_heard = False
        for _ in range(MESSAGES_A_TURN):
            try:
                data = self._links.observer.recv(BUFFER_BYTES)
            except OSError:
                break
            if not data:
                break
            try:
                message = loads(data)
            except Exception:  # noqa: BLE001, S112 - unpickling raises whatever it likes; what is unreadable is not seen
                continue
            if isinstance(message, list):
                self._see(message)
                self._publisher.forward(data)
                has_heard = True
        return has_heard

    def _see(self, reports: list[object]) -> None:
        moved = False
        for report in reports:
            if not isinstance(report, _REPORTS):
                continue
            self._policy.take(report)
            if isinstance(report, Registered):
                self.registrations += 1
            elif isinstance(report, LunSeen) and report.registration in LISTED:
                moved = moved or self._generations.get(report.lun) != report.generation
                self._generations[report.lun] = report.generation
        if moved:
            self._links.supervisor.send(Generations(tuple(self._generations.items())))
