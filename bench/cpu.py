"""CPU time and memory of a whole process tree, from /proc."""

from __future__ import annotations

from pathlib import Path


def process_tree(root_pid: int) -> list[int]:
    """Return the pid of a process and those of all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The name, in parentheses, may hold blanks and parentheses itself.
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(after_name[1]), []).append(int(entry.name))
    tree, front = [], [root_pid]
    while front:
        pid = front.pop()
        tree.append(pid)
        front += children.get(pid, [])
    return tree


def cpu_ns(root_pid: int) -> dict[int, int]:
    """Return, by pid, the nanoseconds that a tree's living threads have been on a CPU.

    User and system time together, by the scheduler's own clock (`schedstat`): the counters of
    `stat` have ticks of 10 ms. Threads that ended are not in it.
    """
    used: dict[int, int] = {}
    for pid in process_tree(root_pid):
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                used[pid] = used.get(pid, 0) + int((task / "schedstat").read_text().split()[0])
        except OSError:
            continue
    return used


def core_busy_ns(core: int | None) -> int:
    """Return how long a core (all of them for None) has worked, for whomever; ticks of 10 ms."""
    name = "cpu" if core is None else f"cpu{core}"
    for line in Path("/proc/stat").read_text().splitlines():
        if line.split()[0] == name:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line.split()[1:9])
            return (user + nice + system + irq + softirq + steal) * 10_000_000
    return 0


def resident_bytes(pid: int) -> int:
    """Return the resident memory of one process, shared pages included."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def proportional_bytes(pid: int) -> int:
    """Return the memory of one process, with pages that it shares divided by their users."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def arguments(pid: int) -> str:
    """Return the command line of a process, in one string."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
