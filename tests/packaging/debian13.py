"""The Debian package on three hosts with Debian 13: installed by apt, started by systemd with what
`netpunch init` and `join` wrote, removed again.

    sudo python -m tests.packaging.debian13 [--tree FOLDER]

Needs mmdebstrap, a Debian mirror, and what tests/lab needs. Takes some minutes, most of them for
the tree, which is kept in FOLDER if that is given. Hosts are that tree with files of their own
above it, in namespaces of the lab, each with its own systemd as process 1."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.lab.namespace import Namespace
from tests.lab.network import Lab
from tests.lab.program import REPOSITORY

SUITE = "trixie"
MORE = "systemd,systemd-sysv,dbus,man-db,bash-completion,lintian,openvpn,iputils-ping"
"""What Debian hosts have, what checks the package, and the VPN."""
CONTROL_NAME = "vps.example.net"
PAIR = "home-office"
UNITS = "/usr/lib/systemd/system"
TREE_SECONDS = 900
COMMAND_SECONDS = 300
BOOT_SECONDS = 60
LINK_SECONDS = 20
RELINK_SECONDS = 50
"""Until an end whose command has ended tries again, and links: `retry_after` is 30 s."""
STOP_SECONDS = 30
NOT_SEARCHED = ("/proc", "/root", "/sys", "/var/cache/man", "/var/lib/dpkg")
"""The package itself, and what man and dpkg remember of it."""
LEFT = [
    "/etc/netpunch",
    f"/etc/netpunch/{PAIR}.conf",
    "/etc/netpunch/keys",
    f"/etc/netpunch/keys/{PAIR}.key",
    "/etc/netpunch/site.yaml",
]
"""Of a host after the package: what its owner made."""

GROUP = """
set -e
mount --make-rprivate /
hierarchy=$(mktemp -d)
mount -t cgroup2 none "$hierarchy"
mkdir -p "$hierarchy/{group}"
echo 0 >"$hierarchy/{group}/cgroup.procs"
umount "$hierarchy"
rmdir "$hierarchy"
exec unshare --pid --fork --kill-child --mount --uts --ipc --cgroup sh -c "$1" boot "$2"
"""
"""Runs the script $1 as a process 1 whose cgroups lie below one of its own."""
BOOT = """
set -e
cd "$1"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sys sys
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs dev
mkdir dev/mqueue dev/net dev/pts dev/shm
while read -r name major minor; do
  mknod -m 666 "dev/$name" c "$major" "$minor"
done <<END
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
net/tun 10 200
END
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
mount -t mqueue mqueue dev/mqueue
mount -t tmpfs tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
pivot_root . mnt
umount --lazy /mnt
exec env -i container=other PATH=/usr/sbin:/usr/bin /usr/lib/systemd/systemd
"""
"""Boots the tree $1. Other devices and settings of the machine's kernel are out of its reach."""
REMOVE_GROUP = """
hierarchy=$(mktemp -d)
mount -t cgroup2 none "$hierarchy"
echo 1 >"$hierarchy/{group}/cgroup.kill"
for wait in $(seq 100); do
  ! find "$hierarchy/{group}" -depth -type d -exec rmdir {{}} + 2>/dev/null || break
  sleep 0.1
done
umount "$hierarchy"
rmdir "$hierarchy"
"""
"""Ends what is left in it, too."""


def command(*argv: str | Path, seconds: float = COMMAND_SECONDS, stdin: str = "") -> str:
    """Its standard output. AssertionError with all of its output if it fails."""
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, input=stdin, timeout=seconds
    )
    shown = " ".join(map(str, argv))
    assert done.returncode == 0, f"{shown}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def make_tree(folder: Path) -> None:
    """Debian from the mirror that mmdebstrap knows."""
    command("mmdebstrap", "--variant=apt", f"--include={MORE}", SUITE, folder, seconds=TREE_SECONDS)


@contextmanager
def above(folder: Path, *lower: Path) -> Iterator[Path]:
    """A tree with files of its own, in `folder`, above others, the topmost first."""
    upper, work, merged = (folder / name for name in ("upper", "work", "merged"))
    for each in (upper, work, merged):
        each.mkdir(parents=True)
    layers = ":".join(map(str, lower))
    options = f"lowerdir={layers},upperdir={upper},workdir={work}"
    command("mount", "-t", "overlay", "overlay", "-o", options, merged)
    try:
        yield merged
    finally:
        command("umount", "--lazy", merged)


class Tree:
    """A Debian that does not run."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, line: str) -> str:
        return command("chroot", self.root, "sh", "-ec", line)

    def found(self) -> list[str]:
        """The files of netpunch, and links to units that are gone."""
        others = " -o ".join(f"-path {each}" for each in NOT_SEARCHED)
        named = f"find / -xdev \\( {others} \\) -prune -o -path '*netpunch*' -print"
        return sorted(self.run(f"{named}; find /etc/systemd -xtype l").splitlines())


class Host:
    """A Debian that runs."""

    def __init__(self, root: Path, name: str, namespace: Namespace, cleanup: ExitStack) -> None:
        self.name = name
        (root / "etc" / "hostname").write_text(f"{name}\n")
        (root / "etc" / "machine-id").write_text("")  # it makes one
        group = namespace.name
        argv = namespace.command("sh", "-c", GROUP.format(group=group), "group", BOOT, str(root))
        self._init = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        cleanup.callback(
            command, "unshare", "--mount", "sh", "-ec", REMOVE_GROUP.format(group=group)
        )
        cleanup.callback(self._init.wait, STOP_SECONDS)
        cleanup.callback(self._init.kill)
        wait_for(lambda: self.run("systemctl is-active dbus") == "active\n", BOOT_SECONDS)

    def run(self, line: str, stdin: str = "") -> str:
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text()
        assert children, f"{self.name} does not run"
        enter = ("nsenter", "--target", children.split()[0], "--all", "--root")
        clean = ("env", "-i", "--chdir=/", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "sh", "-ec", line)
        return command(*enter, *clean, stdin=stdin)

    def said(self) -> str:
        shown = self.run(
            "netpunch status || true; journalctl --no-pager --lines 40 --unit 'netpunch*'"
        )
        return f"-- {self.name}:\n{shown}"

    def is_active(self, unit: str) -> bool:
        return self.run(f"systemctl is-active {unit} || true") == "active\n"


def wait_for(holds: Callable[[], bool], seconds: float) -> None:
    """Of programs that are not ours to be told by."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if holds():
                return
            failure = "it does not hold"
        except AssertionError as error:
            failure = str(error)
        assert time.monotonic() < deadline, f"not within {seconds} s: {failure}"
        time.sleep(0.2)


def install(tree: Tree, package: Path) -> None:
    shutil.copy(package, tree.root / "root" / package.name)
    shutil.copy("/etc/resolv.conf", tree.root / "etc" / "resolv.conf")
    tree.run(f"cd /root; apt-get update -q; apt-get install -qy ./{package.name}")


def inspect(tree: Tree, package: Path) -> None:
    """What the installed package is, before anything runs."""
    said = tree.run(f"lintian --allow-root --pedantic --display-info /root/{package.name} 2>&1")
    assert not re.search("^[EWIP]:", said, re.MULTILINE), said
    complaints = tree.run(f"systemd-analyze verify {UNITS}/netpunch*.* 2>&1")
    assert complaints == "", complaints
    assert tree.run("getent passwd netpunch").startswith("netpunch:")
    assert tree.run("man --path netpunch").strip().endswith("netpunch.1.gz")
    completions = "/usr/share/bash-completion/completions/netpunch"
    assert "_netpunch" in tree.run(f"bash -c '. {completions}; complete -p netpunch'")
    assert not tree.run("find /etc/systemd -name 'netpunch*'"), "a service is enabled"
    printed = tree.run("netpunch run --format text /usr/share/doc/netpunch/examples/example.yaml")
    assert len(printed.splitlines()) == 4
    shutil.rmtree(tree.root / "run" / "netpunch")  # hosts that run have another /run


def remove(tree: Tree) -> None:
    """From a host on which nothing was done with it."""
    tree.run("apt-get remove -qy netpunch")
    assert tree.found() == [], tree.found()


def link(hosts: dict[str, Host]) -> None:
    """By what `init` and `join` say, and with what they wrote, unchanged."""
    home, office, vps = hosts["home"], hosts["office"], hosts["vps"]
    said = home.run(
        f"netpunch init {PAIR} --control {CONTROL_NAME} --partner office --vpn openvpn "
        "--show-invitations"
    )
    for_control, for_partner = re.findall(r"npi1:\S+", said)
    assert said.rstrip().endswith("   systemctl enable --now netpunch"), said
    said = vps.run("netpunch join", stdin=for_control)
    assert said.rstrip().endswith("   systemctl enable --now netpunch-control"), said
    said = office.run("netpunch join", stdin=for_partner)
    for host in hosts.values():
        host.run("systemctl enable --now netpunch")
    [address] = re.findall(r"^   (ping \S+)$", said, re.MULTILINE)
    wait_for(lambda: bool(office.run(f"{address} -c 1 -W 1")), LINK_SECONDS)
    for host in hosts.values():
        host.run("netpunch status; systemctl reload netpunch; netpunch status")


def change_control(vps: Host, office: Host) -> None:
    """To the service without privileges."""
    vps.run("systemctl disable --now netpunch; systemctl enable --now netpunch-control")
    office.run("systemctl restart netpunch")
    wait_for(lambda: " up " in office.run("netpunch status || true"), RELINK_SECONDS)
    vps.run("systemctl reload netpunch-control; netpunch status")


def upgrade(host: Host, package: Path) -> None:
    """The service runs on, in a new process."""
    pid = "systemctl show --property MainPID netpunch"
    before = host.run(pid)
    host.run(f"dpkg --install /root/{package.name}")
    wait_for(lambda: host.is_active("netpunch"), LINK_SECONDS)
    assert host.run(pid) != before


def uninstall(host: Host, tree: Tree) -> None:
    """While it runs; keys and their like stay, even after a purge."""
    host.run("apt-get remove -qy netpunch")
    assert not host.is_active("netpunch")
    assert tree.found() == LEFT, tree.found()
    assert host.run("ls /run").find("netpunch") < 0
    host.run("apt-get purge -qy netpunch")
    assert tree.found() == LEFT, tree.found()


def step(name: str, action: Callable[..., None], *arguments: object) -> None:
    began = time.monotonic()
    action(*arguments)
    print(f"{name}: {time.monotonic() - began:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--tree", type=Path, metavar="FOLDER", help="Debian 13, made if it lacks")
    options = parser.parse_args()
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        base: Path = options.tree or folder / "debian"
        if not base.exists():
            step("debian 13", make_tree, base)
        build = (REPOSITORY / "contrib" / "build-deb", folder)
        package = Path(command("env", f"PYTHON={sys.executable}", *build).strip())
        installed = Tree(cleanup.enter_context(above(folder / "installed", base)))
        step("apt install", install, installed, package)
        step("lintian, units, example", inspect, installed, package)
        below = (folder / "installed" / "upper", base)
        step("apt remove", remove, Tree(cleanup.enter_context(above(folder / "spare", *below))))
        lab = cleanup.enter_context(Lab())
        members = {"vps": lab.server("vps")}
        for name in ("home", "office"):
            members[name] = lab.host(name, lab.router(f"{name}_router"))
        hosts, trees = {}, {}
        names = f"127.0.0.1 localhost\n{members['vps'].address} {CONTROL_NAME}\n"
        for name, member in members.items():
            root = cleanup.enter_context(above(folder / name, *below))
            (root / "etc" / "hosts").write_text(names)
            trees[name] = Tree(root)
            hosts[name] = Host(root, name, member.namespace, cleanup)
        try:
            step("init, join, enable, ping", link, hosts)
            step("control without privileges", change_control, hosts["vps"], hosts["office"])
            step("upgrade", upgrade, hosts["home"], package)
            step("uninstall", uninstall, hosts["home"], trees["home"])
        except AssertionError:
            print("\n".join(map(Host.said, hosts.values())))
            raise


if __name__ == "__main__":
    main()
