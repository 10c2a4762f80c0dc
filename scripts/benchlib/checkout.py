"""A commit beside the working tree, to be built and measured against it."""

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def target(tree=ROOT):
    """Where cargo builds a tree. A commit's has a directory of its own: to cargo its package is the same as ours, so that
    each would take the other's place, or be taken for it.
    """
    own = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").absolute()
    return own if tree == ROOT else tree.with_name(f"{tree.name}-target")


@contextmanager
def checked_out(commit, name):
    """The tree of a commit, for as long as it is needed. It is always at the same place, so that what cargo has built for
    the last one serves for the next where nothing has changed.
    """
    tree = target() / name
    git = ["git", "-C", str(ROOT), "worktree"]
    # One that was left by a run that was killed.
    subprocess.run([*git, "remove", "--force", str(tree)], stderr=subprocess.DEVNULL, check=False)
    if subprocess.run([*git, "add", "--force", "--detach", "--quiet", str(tree), commit], check=False).returncode != 0:
        raise SystemExit(f"{commit} could not be checked out")
    try:
        yield tree
    finally:
        subprocess.run([*git, "remove", "--force", str(tree)], check=True)
