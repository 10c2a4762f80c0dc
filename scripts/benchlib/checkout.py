"""A commit beside the working tree, to be built and measured against it."""

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def target(root=ROOT):
    """Where cargo builds a package."""
    return Path(os.environ.get("CARGO_TARGET_DIR") or root / "target").absolute()


@contextmanager
def checked_out(commit, name):
    """The tree of a commit, for as long as it is needed. It is always at the same place, so that cargo puts what it
    builds from there over what it built from there last.
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
