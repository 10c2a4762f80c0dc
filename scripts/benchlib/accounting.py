"""What the kernel says of a process and its children: CPU time and resident memory."""

import glob
import os


def tree(pid):
    """The process and all its descendants, by one pass over /proc (a process that ends meanwhile is left out)."""
    children = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                # The name is in parentheses and may hold anything, so fields are counted from its end.
                number, rest = file.read().split(" ", 1)
        except OSError:
            continue
        parent = int(rest.rsplit(")", 1)[1].split()[1])
        children.setdefault(parent, []).append(int(number))
    found, open_ends = [pid], [pid]
    while open_ends:
        below = children.get(open_ends.pop(), [])
        found += below
        open_ends += below
    return found


def cpu_ns(pid):
    """Nanoseconds on a CPU of every living thread of the tree, `{(process, thread): ns}`.

    The first field of schedstat is the scheduler's own sum: exact, and not sampled by a tick. Kernel workers of
    a ring are threads of their process, so work punted to them is counted too.
    """
    spent = {}
    for process in tree(pid):
        for path in glob.glob(f"/proc/{process}/task/[0-9]*/schedstat"):
            try:
                with open(path, encoding="ascii") as file:
                    spent[process, int(path.split("/")[4])] = int(file.read().split()[0])
            except OSError:
                continue
    return spent


def cpu_spent_ns(before, after):
    """Nanoseconds between two readings, and the number of threads that ended in between and took theirs along."""
    spent = sum(ns - before.get(thread, 0) for thread, ns in after.items())
    return spent, len(before.keys() - after.keys())


def resident_kib(pid):
    """Resident KiB of the tree, from smaps_rollup because the counters in `status` lag behind by design."""
    total = 0
    for process in tree(pid):
        with open(f"/proc/{process}/smaps_rollup", encoding="ascii", errors="replace") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("Rss:"))
    return total


def open_files_max():
    """Raises the soft limit of open files to the hard one, for the servers and the generator inherit it."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pin_to(core):
    """A function for `preexec_fn` that pins the child to one core, if the machine has it to give."""
    if core not in os.sched_getaffinity(0):
        raise SystemExit(f"bench: core {core} is not ours to use; the method needs cores 0 and 1")
    return lambda: os.sched_setaffinity(0, {core})
