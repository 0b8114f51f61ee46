"""The unit's sandbox without systemd: what whend.service denies is denied by other means, and whend does all its work all the same.

    ./run prove sandbox

Needs root, systemd-analyze (it knows the sets of system calls) and libseccomp; systemd itself need not run. whend is installed
into a folder of its own and started as the installed unit says: its user (nobody stands in for whend), no capabilities, no new
privileges, the filter of system calls with its error number, address families, no namespaces, a read-only system, no /home, its
own /tmp and /dev, /proc without other users' processes. Not tried: what only systemd does (credentials, watchdog, start limits).
Then the same once more with MemoryDenyWriteExecute, which the unit leaves off.
"""
import ctypes
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
BUILD = os.environ.get("WHEN_BUILD", os.path.join(ROOT, "build"))
NOBODY = 65534
PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, PR_SET_PDEATHSIG, PR_SET_MDWE = 38, 24, 1, 65
ALLOW, DENY = 0x7FFF0000, 0x00050000  # libseccomp's SCMP_ACT_ALLOW, SCMP_ACT_ERRNO(0)
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}

MOUNTS = r"""
set -e
mount --make-rprivate /
mount --bind "$1/state" "$1/state"
mount --bind "$1/run" "$1/run"
findmnt -rno TARGET | while read -r at; do
    case $at in "$1"/state | "$1"/run | /proc | /proc/* | /dev | /dev/*) ;; *) mount -o remount,bind,ro "$at" 2>/dev/null || true ;; esac
done
mount -t tmpfs -o mode=1777 none /tmp
mount -t tmpfs -o mode=1777 none /var/tmp
for home in /home /root /run/user; do if [ -d $home ]; then mount -t tmpfs -o ro,mode=0 none $home; fi; done
mount -t tmpfs -o mode=0755 none /dev
for node in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do
    set -- "$1" $node
    mknod -m 666 /dev/$2 c $3 $4
done
mount -o remount,ro /dev
mount -t proc -o hidepid=invisible none /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
"""


def unit_settings(path):
    """{key: [values]} of the [Service] section."""
    settings, section = {}, None
    with open(path) as file:
        for line in file:
            line = line.strip()
            if line.startswith("["):
                section = line
            elif section == "[Service]" and line and not line.startswith("#"):
                key, _, value = line.partition("=")
                settings.setdefault(key, []).append(value)
    return settings


def calls_of(name):
    """A set of system calls by its name, or one call."""
    if not name.startswith("@"):
        return {name}
    text = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True).stdout
    words = [line.strip() for line in text.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    return set().union(*(calls_of(word) for word in words)) if words else set()


def allowed_calls(lines):
    """systemd.exec(5): the first line begins an allow list; "~" takes away; @default is always in."""
    allowed = calls_of("@default")
    for line in lines:
        names = set().union(*(calls_of(name) for name in line.lstrip("~").split()))
        allowed = allowed - names if line.startswith("~") else allowed | names
    return allowed


class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def filter_calls(settings):
    """Loads the filter; what is not allowed fails with the unit's error number."""
    seccomp = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    seccomp.seccomp_init.restype = ctypes.c_void_p
    seccomp.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
    seccomp.seccomp_load.argtypes = [ctypes.c_void_p]
    number = getattr(errno, settings["SystemCallErrorNumber"][0])
    context = seccomp.seccomp_init(ctypes.c_uint32(DENY | number))
    allowed = allowed_calls(settings["SystemCallFilter"])
    if settings.get("RestrictNamespaces") == ["yes"]:
        allowed -= {"unshare", "setns"}
    families = {FAMILIES[name] for line in settings["RestrictAddressFamilies"] for name in line.split()}
    only = {"socket": (0, families)}
    if settings.get("RestrictRealtime") == ["yes"]:
        only["sched_setscheduler"] = (1, {0, 3, 5})  # SCHED_OTHER, _BATCH, _IDLE
    for name in sorted(allowed - set(only)):
        call = seccomp.seccomp_syscall_resolve_name(name.encode())
        if call >= 0:
            assert seccomp.seccomp_rule_add_array(context, ALLOW, call, 0, None) == 0, name
    for name, (argument, values) in only.items():
        call = seccomp.seccomp_syscall_resolve_name(name.encode())
        for value in values if name in allowed else ():
            compare = Compare(argument, 4, value, 0)  # SCMP_CMP_EQ
            assert seccomp.seccomp_rule_add_array(context, ALLOW, call, 1, ctypes.byref(compare)) == 0
    assert seccomp.seccomp_load(context) == 0
    return len(allowed)


def inside(folder, deny_execute):
    """In the mount namespace: becomes what the unit says, and then whend."""
    libc = ctypes.CDLL(None, use_errno=True)
    settings = unit_settings(os.path.join(folder, "usr/lib/systemd/system/whend.service"))
    assert settings["CapabilityBoundingSet"] == [""] and settings["NoNewPrivileges"] == ["yes"]
    subprocess.run(["bash", "-c", MOUNTS, "mounts", folder], check=True)
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    os.umask(int(settings["UMask"][0], 8))
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if deny_execute and libc.prctl(PR_SET_MDWE, 1, 0, 0, 0) != 0:
        sys.exit(77)
    calls = filter_calls(settings)
    for path in ("/etc/x", "/usr/x", folder + "/x"):  # it holds
        try:
            open(path, "w")
            raise AssertionError(f"{path} can be written")
        except OSError:
            pass
    if libc.unshare(0x10000000) == 0 or libc.socket(17, 3, 0) >= 0:  # a user namespace, a packet socket
        raise AssertionError("the filter lets through what it should not")
    print(f"{calls} system calls are allowed", file=sys.stderr, flush=True)
    command = settings["ExecStart"][0].split()
    os.execv(command[0], [command[0], "--config", os.path.join(folder, "whend.yaml")])


def wait_for(process, what, condition):
    for _ in range(600):
        if condition():
            return
        try:
            process.wait(0.2)
            raise AssertionError(f"whend ended with {process.returncode} before: {what}")
        except subprocess.TimeoutExpired:
            pass
    raise AssertionError(f"waited too long for: {what}")


def try_unit(folder, deny_execute):
    for name in ("state", "run"):
        shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
        os.mkdir(os.path.join(folder, name), 0o750)
        os.chown(os.path.join(folder, name), NOBODY, NOBODY)
    ctl = os.path.join(folder, "usr/bin/whenctl")

    def ask(*args):
        return subprocess.run([ctl, "--runtime-dir", os.path.join(folder, "run"), *args], capture_output=True, text=True)

    with open(os.path.join(folder, "log"), "w") as log:
        process = subprocess.Popen(["unshare", "--mount", "--propagation", "private", sys.executable, __file__, "--inside", folder,
                                    str(int(deny_execute))], stderr=log, stdin=subprocess.DEVNULL)
    try:
        wait_for(process, "an answer", lambda: ask("status").returncode == 0)
        with open("/proc/%d/status" % process.pid) as status:
            facts = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
        assert (facts["Seccomp"], facts["NoNewPrivs"], int(facts["CapBnd"], 16)) == ("2", "1", 0), facts
        wait_for(process, "everything is examined", lambda: "Examined: gate 1m00s." in ask("ask", "when did a red car drive past?").stdout)
        events = json.loads(ask("ask", "--json", "when did a red car drive past?").stdout)["events"]
        assert events, "no events"
        for args in (("reload",), ("coverage",), ("cameras",), ("watch", "add", "dog", "When does a dog run?"),
                     ("clip", events[0]["id"], "--output", folder + "/clip.mp4"),
                     ("thumbnail", events[0]["id"], "--output", folder + "/clip.jpg"), ("backup", folder + "/copy.sqlite")):
            result = ask(*args)
            assert result.returncode == 0, (args, result.stderr)
        process.terminate()
        assert process.wait(15) == 0, process.returncode
        return len(events)
    except BaseException:
        process.kill()
        process.wait()
        with open(os.path.join(folder, "log")) as log:
            sys.stderr.write("".join(log.readlines()[-25:]))
        raise


def main():
    if len(sys.argv) > 1 and sys.argv[1] == "--inside":
        inside(sys.argv[2], sys.argv[3] == "1")
    if os.geteuid() != 0:
        sys.exit("sandbox: needs root (mounts, another user)")
    folder = tempfile.mkdtemp(prefix="whend-sandbox-", dir="/var/lib")
    failures = 0
    try:
        os.chmod(folder, 0o755)
        subprocess.run(["cmake", "--install", BUILD, "--prefix", folder + "/usr", "--strip"], check=True, stdout=subprocess.DEVNULL)
        shutil.copy(os.path.join(ROOT, "demo/cameras/gate.mp4"), folder)
        with open(folder + "/whend.yaml", "w") as file:
            file.write(f"state_dir: {folder}/state\nruntime_dir: {folder}/run\nhttp: {{address: off}}\n"
                       f"model: {{path: {folder}/usr/share/whend/demo-model}}\ncameras: {{gate: {{url: gate.mp4}}}}\n"
                       "watches: {red-car: {question: When does a red car drive past?}}\n")
        for deny_execute in (False, True):
            name = "with MemoryDenyWriteExecute" if deny_execute else "as the unit says"
            try:
                print(f"{name}: {try_unit(folder, deny_execute)} events; clip, thumbnail, backup, reload, stop", flush=True)
            except AssertionError as fault:
                failures += 1
                print(f"{name}: {fault}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"goal sandbox_failures {failures} 0 {'short' if failures else 'met'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
