# SPDX-License-Identifier: Apache-2.0
"""Builds what a guest boots: a kernel, an initramfs and a Debian root file system (`python -m tests.lab.images`).

Everything is kept under `.lab/images/<hash of the inputs>`; packages are kept in `.lab/cache`, so that a
second build needs no network. FENCE_HALVM_LAB_SUITE=trixie makes Debian 13's, below `.lab/trixie`. The build runs in
mount and PID namespaces of its own: nothing stays mounted when it is interrupted. It needs root, as debootstrap does.
"""

import argparse
import inspect
import lzma
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .places import CACHE, LAB, PACKAGE, PROJECT, SUITE, SUITES, digest, locked, prune, published

DISK_SIZE = "3G"


_TRIXIE = {
    "fence-agents": ("fence-agents-ipmilan", "fence-agents-mpath", "fence-agents-sbd", "fence-agents-scsi"),
    "libsgutils2-1.46-2": ("libsgutils2-1.48",),
}
INSTEAD = _TRIXIE if SUITE == "trixie" else {}
"""Packages that have another name than in Debian 12. Debian 13's fence-agents has every agent, and takes minutes."""


def _words(name: str) -> list[str]:
    return [word for listed in (PACKAGE / name).read_text().split() for word in INSTEAD.get(listed, (listed,))]


# Started by the tests that want them, not at boot.
ENABLED_UNITS = ("lab-net", "lab-product", "lab-storage")

# Of the kernel package's modules, those that some guest may need: the whole set is four times as large.
BOOT_MODULES = ("virtio_pci", "virtio_blk", "ext4")

INITRAMFS_INIT = """\
#!/bin/busybox sh
# Loads what the root disk needs and hands over to the init named on the kernel command line.
/bin/busybox mkdir -p /dev /proc /sys /root
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
while read module; do /bin/busybox insmod /modules/$module; done </modules/order
init=/sbin/init
for word in $(/bin/busybox cat /proc/cmdline); do case $word in lab.init=*) init=${word#*=} ;; esac; done
for try in $(/bin/busybox seq 100); do [ -b /dev/vda ] && break; /bin/busybox usleep 20000; done
/bin/busybox mount -t ext4 -o noatime /dev/vda /root || exec /bin/busybox sh
for each in dev proc sys; do /bin/busybox mount --move /$each /root/$each; done
exec /bin/busybox switch_root /root $init
"""


def images_directory() -> Path:
    """Where the images of the present inputs are, or would be."""
    files = sorted(path for path in (PACKAGE / "rootfs").rglob("*") if path.is_file())
    inputs: list[str | Path] = [PACKAGE / "images.py", *sorted(PACKAGE.glob("guest-*.txt"))]
    for path in files:
        inputs += [str(path.relative_to(PACKAGE)), path]
    return LAB / "images" / digest(inputs)


def host_mirror() -> str:
    """The Debian mirror that this host itself uses. It has all suites."""
    sources = [*Path("/etc/apt").glob("sources.list"), *Path("/etc/apt/sources.list.d").iterdir()]
    for source in sources:
        uri = ""
        for line in source.read_text().splitlines():
            words = line.split()
            if words[:1] == ["deb"]:
                words = [word for word in words[1:] if not word.startswith("[") and not word.endswith("]")]
                uri, suites = words[0], words[1:2]
            elif words[:1] == ["URIs:"]:
                uri, suites = words[1], []
            else:
                suites = words[1:] if words[:1] == ["Suites:"] else []
            if not set(SUITES).isdisjoint(suites):
                return uri
    raise LookupError(f"no apt source of this host has one of the suites {', '.join(SUITES)}")


def run(*command: str | Path, **options: object) -> str:
    """What a command prints. Raises RuntimeError with what it said."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    words = [str(word) for word in command]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return str(done.stdout)


class _Progress:
    def __init__(self) -> None:
        self._started = time.monotonic()

    def __call__(self, what: str) -> None:
        print(f"{time.monotonic() - self._started:6.1f} s  {what}", flush=True)


def bootstrap(root: Path, packages: Sequence[str]) -> None:
    """Debian's packages, none of them started, and the kernel package beside them as /kernel.deb."""
    mirror = host_mirror()
    debs, archives = CACHE / "debs", CACHE / "archives"
    debs.mkdir(exist_ok=True)
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    run("debootstrap", "--variant=minbase", f"--cache-dir={debs}", SUITE, root, mirror)
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")  # no service starts in the chroot
    policy.chmod(0o755)
    unwanted = ("doc", "man", "locale", "info")
    (root / "etc/dpkg/dpkg.cfg.d/lab").write_text(
        "force-unsafe-io\n" + "".join(f"path-exclude=/usr/share/{name}/*\n" for name in unwanted)
    )
    (root / "etc/apt/apt.conf.d/99lab").write_text(
        'APT::Install-Recommends "false";\nAcquire::Languages "none";\nAPT::Sandbox::User "root";\n'
    )
    (root / "etc/apt/sources.list").write_text(f"deb {mirror} {SUITE} main\n")
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    run("mount", "--bind", archives, root / "var/cache/apt/archives")
    run("mount", "-t", "proc", "proc", root / "proc")
    run("chroot", root, "apt-get", "-qq", "update")
    run("chroot", root, "apt-get", "-y", "-qq", "-o", "Dpkg::Use-Pty=0", "install", *packages)
    depends = run("chroot", root, "apt-cache", "depends", "--important", "linux-image-amd64")
    kernel = next(word for word in depends.split() if word.startswith("linux-image-6"))
    run("chroot", root, "sh", "-c", f"cd /var/cache/apt/archives && apt-get -q download {kernel}")
    deb = max(archives.glob(f"{kernel}_*.deb"), key=lambda path: path.stat().st_mtime)
    shutil.copy(deb, root / "kernel.deb")
    run("umount", root / "var/cache/apt/archives", root / "proc")
    run("rm", "-rf", root / "var/lib/apt/lists", *(root / "usr/share" / name for name in unwanted))
    (root / "etc/resolv.conf").unlink()


def _base(root: Path) -> None:
    """What bootstrap makes, from the cache where that has it: a changed script must not cost a debootstrap."""
    names = [word for words in INSTEAD.values() for word in words]
    archive = CACHE / f"base-{digest([PACKAGE / 'guest-packages.txt', inspect.getsource(bootstrap), *names])}.tar"
    root.mkdir(exist_ok=True)
    if not archive.exists():
        bootstrap(root, _words("guest-packages.txt"))
        for old in CACHE.glob("base-*"):
            old.unlink()
        partial = archive.with_suffix(".partial")
        run("tar", "--numeric-owner", "--xattrs", "-C", root, "-cf", partial, ".")
        partial.rename(archive)
    else:
        run("tar", "--numeric-owner", "--xattrs", "-C", root, "-xf", archive)


def _unpacked(payload: bytes) -> bytes:
    """The vmlinux in a bzImage. Debian 13 packs it by zstd, and the kernel's build adds the length, 4 bytes."""
    if payload.startswith(bytes.fromhex("28b52ffd")):
        return subprocess.run(["zstd", "-dc"], input=payload[:-4], capture_output=True, check=True).stdout
    return lzma.LZMADecompressor().decompress(payload)


def _kernel(root: Path, out: Path) -> str:
    """Unpacks the kernel package: vmlinux for QEMU's PVH boot, the modules for the root. Returns the release."""
    unpacked = out / "kernel"
    run("dpkg", "-x", root / "kernel.deb", unpacked)
    (root / "kernel.deb").unlink()
    (modules,) = (*unpacked.glob("lib/modules/*"), *unpacked.glob("usr/lib/modules/*"))
    release = modules.name
    image = (unpacked / f"boot/vmlinuz-{release}").read_bytes()
    # Linux Documentation/arch/x86/boot.rst: setup_sects, payload_offset, payload_length.
    start = ((image[0x1F1] or 4) + 1) * 512 + int.from_bytes(image[0x248:0x24C], "little")
    payload = image[start : start + int.from_bytes(image[0x24C:0x250], "little")]
    (out / "vmlinux").write_bytes(_unpacked(payload))
    target = root / "lib/modules" / release
    target.mkdir(parents=True)
    for index in modules.glob("modules.*"):
        shutil.copy(index, target)
    named = [modules / "kernel" / f"{name}{end}" for name in _words("guest-modules.txt") for end in ("", ".xz")]
    wanted = [path.relative_to(modules / "kernel") for path in named if path.exists()]
    (target / "kernel").mkdir()
    run("cp", "-a", "--parents", *wanted, target / "kernel", cwd=modules / "kernel")
    # Unpacked here, once, and not by an emulated processor at each boot. The initramfs' insmod reads no other.
    run("find", target, "-name", "*.ko.xz", "-exec", "xz", "--decompress", "{}", "+")
    run("chroot", root, "depmod", release)
    shutil.rmtree(unpacked)
    return release


def _initramfs(root: Path, release: str, out: Path) -> None:
    tree = out / "initramfs"
    (tree / "bin").mkdir(parents=True)
    (tree / "modules").mkdir()
    shutil.copy(shutil.which("busybox") or "busybox", tree / "bin/busybox")
    shown = run("chroot", root, "modprobe", "-a", "-S", release, "--show-depends", *BOOT_MODULES)
    files = list(dict.fromkeys(line.split()[1] for line in shown.splitlines() if line.startswith("insmod")))
    for file in files:
        shutil.copy(root / file.lstrip("/"), tree / "modules")
    (tree / "modules/order").write_text("".join(f"{Path(file).name}\n" for file in files))
    (tree / "init").write_text(INITRAMFS_INIT)
    (tree / "init").chmod(0o755)
    run("sh", "-c", f"find . | cpio -o -H newc --quiet -R 0:0 > {out}/initrd.img", cwd=tree)
    shutil.rmtree(tree)


def configure(root: Path) -> None:
    """What every guest has."""
    run("cp", "-a", "--no-preserve=ownership", f"{PACKAGE}/rootfs/.", root)
    (root / "etc/fstab").write_text("")
    (root / "etc/hostname").write_text("lab\n")
    (root / "etc/machine-id").write_text("8eaa2b337e164708bf052a242eda1e90\n")
    (root / "etc/target/pr").mkdir(parents=True)  # LIO keeps APTPL here
    run("chroot", root, "chpasswd", input="root:lab\n")
    for unit in _words("guest-units-off.txt"):
        subprocess.run(["chroot", root, "systemctl", "disable", unit], capture_output=True, check=False)
    run("chroot", root, "systemctl", "enable", *ENABLED_UNITS)
    run("chroot", root, "systemctl", "mask", *_words("guest-units-masked.txt"))


def make_boot_files(root: Path, out: Path) -> None:
    """The kernel and its initramfs beside the root, its modules in it."""
    _initramfs(root, _kernel(root, out), out)


def write_disk(root: Path, out: Path) -> None:
    """The root as out/root.ext4. It is removed."""
    make = ["mke2fs", "-q", "-t", "ext4", "-O", "^metadata_csum", "-J", "size=16", "-E", "root_owner=0:0"]
    run(*make, "-d", root, out / "root.ext4", DISK_SIZE)
    shutil.rmtree(root)


def _build(out: Path) -> None:
    """Runs inside namespaces of its own, see build()."""
    progress, root = _Progress(), out / "root"
    _base(root)
    progress("packages")
    make_boot_files(root, out)
    progress("kernel")
    configure(root)
    lvm = root / "etc/lvm/lvm.conf"
    lvm.write_text(lvm.read_text().replace('# system_id_source = "none"', 'system_id_source = "uname"'))
    write_disk(root, out)
    progress("root file system")


def build_apart(module: str, scratch: Path) -> None:
    """Has a module build into a directory, in namespaces of its own: nothing stays mounted."""
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    environment = {name: value for name, value in os.environ.items() if name != "TMPDIR"}  # a chroot has no such place
    words = [*command, sys.executable, "-m", module, "--into", str(scratch)]
    subprocess.run(words, cwd=PROJECT, env=environment, check=True)


def build() -> Path:
    """The directory of the images, built first where need be. Raises RuntimeError with the failed command's output."""
    images = images_directory()
    CACHE.mkdir(parents=True, exist_ok=True)
    with locked():
        if images.exists():
            return images
        with published(images) as scratch:
            build_apart("tests.lab.images", scratch)
        prune(images.parent, "*")
    return images


def run_as_program(description: str, build: Callable[[], Path], build_into: Callable[[Path], None]) -> None:
    """What `python -m` does: prints the directory, built first where need be. build_apart calls it with --into."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    into = parser.parse_args().into
    if into:
        build_into(into)
    else:
        print(build())


if __name__ == "__main__":
    run_as_program("Builds and caches the lab's images.", build, _build)
