# SPDX-License-Identifier: Apache-2.0
"""What a guest's hardware is: the QEMU command line. Snapshots are bound to it."""

from dataclasses import dataclass
from pathlib import Path

from .host_clock import tsc_khz

PRODUCT_DISK_BYTES = 16 << 20

# tsc=reliable and no_timer_check: a guest that shares two cores with others must not judge its clock by their noise.
# norandmaps: QEMU translates code anew for each address at which it is mapped, so for each process if these are random;
# with it a guest does twice as much, and what starts many processes is not made to look slower than it is.
# panic=0: a node that panicked stays down, as a production node waiting for its dump would; fencing must move it.
KERNEL_OPTIONS = (
    "console=ttyS0 quiet loglevel=4 panic=0 tsc=reliable no_timer_check mitigations=off random.trust_cpu=on "
    "net.ifnames=0 systemd.show_status=0 norandmaps"
)


@dataclass(frozen=True)
class Machine:
    """One virtual machine. `init` is what the kernel starts; `devices` are further QEMU arguments.

    counted: its clock counts instructions, a nanosecond each, and jumps over the time in which all of it waits. What
    is timed in it is the same each time, however busy the host, as on a processor of 1,000 million instructions a
    second.
    """

    name: str
    memory_mb: int
    cpus: int
    init: str
    kernel_options: str
    devices: tuple[str, ...] = ()
    counted: bool = False

    def identity(self) -> list[str]:
        """What a snapshot is bound to: the command without what differs between runs and between hosts."""
        return self._command(Path("images"), Path("run"), "")

    def argv(self, images: Path, run: Path) -> list[str]:
        """The command. `run` holds this machine's disk (root.qcow2), product.tar, sockets and console log.

        The guest is told the rate of its time stamp counter, which is the host's: left to find it out beside a busy
        neighbour, two of twelve guests had clocks that ran 2.7 times too fast, and all their deadlines with them.
        """
        rate = None if self.counted else tsc_khz()
        return self._command(images, run, f" tsc_early_khz={rate}" if rate else "")

    def _command(self, images: Path, run: Path, clock: str) -> list[str]:
        """clock: kernel options.

        Acceleration is TCG by name: `-accel kvm` was seen to hang instead of failing where KVM is unusable. tb-size, in
        MiB, holds all code that a test runs (100 to 140 for Python and the kernel); a full one is emptied.
        """
        console = f"socket,id=console,path={run}/console,server=on,wait=off,logfile={run}/console.log,logappend=on"
        append = f"{KERNEL_OPTIONS} lab.init={self.init} lab.host={self.name} systemd.hostname={self.name}"
        threads = "single" if self.counted else "multi"
        return [
            *("qemu-system-x86_64", "-name", self.name, "-nodefaults", "-no-user-config", "-display", "none"),
            *("-accel", f"tcg,thread={threads},tb-size=512", "-M", "pc", "-cpu", "Nehalem"),
            *(("-icount", "shift=0,sleep=off") if self.counted else ()),
            *("-m", str(self.memory_mb), "-smp", str(self.cpus)),
            *("-kernel", f"{images}/vmlinux", "-initrd", f"{images}/initrd.img"),
            *("-append", f"{append} {self.kernel_options}{clock}"),
            *("-drive", f"file={run}/root.qcow2,if=none,id=root,format=qcow2,cache=writeback"),
            *("-device", "virtio-blk-pci,drive=root,serial=root"),
            *("-drive", f"file={run}/product.tar,if=none,id=product,format=raw,readonly=on"),
            *("-device", "virtio-blk-pci,drive=product,serial=product"),
            *("-chardev", console),
            *("-serial", "chardev:console", "-device", "virtio-rng-pci", "-device", "virtio-serial-pci"),
            *("-chardev", f"socket,id=agent,path={run}/agent,server=on,wait=off"),
            *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
            *("-qmp", f"unix:{run}/qmp,server=on,wait=off"),
            *self.devices,
        ]


def incoming(state: Path) -> list[str]:
    """Arguments that make a machine wait, stopped, with the memory that was saved in `state`."""
    return ["-incoming", f"exec:cat {state}", "-S"]
