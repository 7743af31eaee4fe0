# SPDX-License-Identifier: Apache-2.0
"""The configuration files of a cluster: parses them, and collects what is wrong with each and between them."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, NamedTuple, TypeVar

from fencer.cluster.cluster_conf import Cluster, parse_cluster
from fencer.cluster.corosync_conf import CorosyncCluster, parse_corosync
from fencer.ctl.check.cluster_rules import agreement_findings, cluster_conf_findings, copies_findings
from fencer.ctl.check.corosync_rules import corosync_findings
from fencer.ctl.check.devices import Device, of_cib, of_cluster_conf, of_dlm_conf
from fencer.ctl.check.dlm_rules import dlm_findings
from fencer.ctl.check.finding import CheckFinding, fault
from fencer.ctl.check.lvm_rules import Use, group_findings, lvm_conf_findings
from fencer.ctl.check.multipath_rules import queueing_findings
from fencer.ctl.check.service_rules import service_findings, uses_of
from fencer.ctl.check.stonith_rules import lun_name_findings, stonith_findings
from fencer.ctl.sources.cib import Cib, parse_cib
from fencer.ctl.sources.dlm_conf import DlmConf, parse_dlm_conf
from fencer.ctl.sources.lvm_conf import LvmConf, parse_lvm_conf
from fencer.ctl.sources.lvm_report import LogicalVolume, LvmGroup
from fencer.errors import UsageError
from fencer.regular_file import CONFIGURATION_BYTES, read_regular_file

T = TypeVar("T")


class ConfigText(NamedTuple):
    """A file, or what a program printed instead. source: its path or the program's name."""

    source: str
    content: bytes

    @property
    def text(self) -> str:
        """The content as UTF-8. A comment may be in another encoding. Carriage returns of other systems are dropped."""
        return self.content.decode("utf-8", "surrogateescape").replace("\r\n", "\n")


class Files(NamedTuple):
    """The files. cluster_conf: copies of several nodes, the first one is this node's. lvm_conf: lvmlocal.conf, too,
    after it."""

    cluster_conf: tuple[ConfigText, ...] = ()
    corosync_conf: ConfigText | None = None
    lvm_conf: tuple[ConfigText, ...] = ()
    cib: ConfigText | None = None
    dlm_conf: ConfigText | None = None
    multipath_conf: tuple[ConfigText, ...] = ()


class Machine(NamedTuple):
    """The facts about a machine that the rules need; empty where files alone are looked at. host_names: this host's.
    hosts: /etc/hosts. groups, volumes: as LVM shows them, None when not known. devices_file: LVM's is in use."""

    host_names: tuple[str, ...] = ()
    hosts: Mapping[str, Collection[str]] = {}
    groups: tuple[LvmGroup, ...] | None = None
    volumes: tuple[LogicalVolume, ...] | None = None
    devices_file: bool = False


class Configuration(NamedTuple):
    """The parsed files. broken: those that make no sense, as findings."""

    cluster: Cluster | None
    corosync: CorosyncCluster | None
    lvm: LvmConf | None
    cib: Cib | None
    dlm: DlmConf | None
    broken: tuple[CheckFinding, ...]

    @property
    def node_ids(self) -> Mapping[str, str]:
        """Node id to name, by corosync.conf."""
        nodes = self.corosync.nodes if self.corosync is not None else ()
        return {str(node.node_id): node.name for node in nodes}


CIB_BYTES: Final = 16 << 20
"""Largest size of a CIB. With its status section, that of a large cluster has more than one mebibyte."""


def read_text(path: str, option: str = "", most_bytes: int = CONFIGURATION_BYTES) -> ConfigText:
    """Raises UsageError. option: the one that named the file."""
    try:
        return ConfigText(path, read_regular_file(path, most_bytes, link=True))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{option or 'file'}: {path}: {reason}: give the path of a readable file") from error


def parse(files: Files) -> Configuration:
    """Never raises: a file that makes no sense is a finding."""
    broken: list[CheckFinding] = []

    def parsed(text: ConfigText | None, parser: Callable[[ConfigText], T]) -> T | None:
        try:
            return None if text is None else parser(text)
        except UsageError as error:
            subject, _, sentence = str(error).partition(": ")
            broken.append(fault(text.source if text else subject, 0, sentence, ""))
            return None

    lvm: LvmConf | None = None
    for text in files.lvm_conf:
        one = parsed(text, lambda each: parse_lvm_conf(each.text, each.source))
        lvm = one if lvm is None or one is None else lvm.with_local(one)
    return Configuration(
        parsed(next(iter(files.cluster_conf), None), lambda each: parse_cluster(each.content, each.source)),
        parsed(files.corosync_conf, lambda each: parse_corosync(each.text, each.source)),
        lvm,
        parsed(files.cib, lambda each: parse_cib(each.content, each.source)),
        parsed(files.dlm_conf, lambda each: parse_dlm_conf(each.text, each.source)),
        tuple(broken),
    )


def file_findings(files: Files, parsed: Configuration, machine: Machine = Machine()) -> list[CheckFinding]:  # noqa: B008 - immutable
    """All that the files themselves show, each against the others and against the machine."""
    found = list(parsed.broken)
    names = tuple(node.name for node in parsed.corosync.nodes) if parsed.corosync is not None else ()
    if parsed.cluster is not None:
        found += cluster_conf_findings(parsed.cluster, files.cluster_conf[0].source, machine.host_names)
        found += copies_findings([(text.source, text.content) for text in files.cluster_conf])
    if parsed.corosync is not None and files.corosync_conf is not None:
        text = files.corosync_conf
        found += corosync_findings(text.text, text.source, machine.host_names, machine.hosts)
    if parsed.cib is not None and files.cib is not None:
        found += stonith_findings(parsed.cib, files.cib.source, names)
        found += service_findings(parsed.cib, files.cib.source, machine.volumes)
    if parsed.dlm is not None and files.dlm_conf is not None:
        found += dlm_findings(parsed.dlm, files.dlm_conf.source, parsed.node_ids)
    found += agreement_findings(
        _with_source(parsed.cluster, next(iter(files.cluster_conf), None)),
        _with_source(parsed.corosync, files.corosync_conf),
        _with_source(parsed.cib, files.cib),
    )
    found += lun_name_findings(fence_devices(files, parsed))
    uses = uses_of_groups(files, parsed)
    if parsed.lvm is not None:
        found += lvm_conf_findings(parsed.lvm, uses)
    if machine.groups is not None:
        nodes = names or tuple(node.name for node in (parsed.cluster.nodes if parsed.cluster is not None else ()))
        conf = parsed.lvm or LvmConf({}, ())
        found += group_findings(machine.groups, uses, nodes, conf, devices_file=machine.devices_file)
    found += queueing_findings([(text.text, text.source) for text in files.multipath_conf])
    return found


def uses_of_groups(files: Files, parsed: Configuration) -> tuple[Use, ...]:
    """The volume groups of the services, each once: by the CIB, by rgmanager's resources, by the fence devices."""
    uses: list[Use] = []
    if parsed.cib is not None and files.cib is not None:
        uses += uses_of(parsed.cib, files.cib.source)
    if parsed.cluster is not None:
        uses += [Use(lvm.volume_group, "", files.cluster_conf[0].source, lvm.line) for lvm in parsed.cluster.lvm]
    uses += [
        Use(group, "", device.source, device.line)
        for device in fence_devices(files, parsed)
        if device.ours and (group := device.attributes.get("vg", "").strip())
    ]
    first: dict[str, Use] = {}
    for use in uses:
        first.setdefault(use.group, use)
    return tuple(first.values())


def fence_devices(files: Files, parsed: Configuration) -> tuple[Device, ...]:
    """The fence devices of all configuration files."""
    found: list[Device] = []
    if parsed.cluster is not None:
        found += of_cluster_conf(parsed.cluster, files.cluster_conf[0].source)
    if parsed.cib is not None and files.cib is not None:
        found += of_cib(parsed.cib, files.cib.source)
    if parsed.dlm is not None and files.dlm_conf is not None:
        found += of_dlm_conf(parsed.dlm, files.dlm_conf.source, parsed.node_ids)
    return tuple(found)


def _with_source(value: T | None, text: ConfigText | None) -> tuple[T, str] | None:
    return None if value is None or text is None else (value, text.source)


def in_order(found: Iterable[CheckFinding]) -> tuple[CheckFinding, ...]:
    """The findings without duplicates: the faults first, then by file and line."""
    return tuple(sorted(dict.fromkeys(found), key=lambda each: (each.status, each.source, each.line)))
