#!/bin/bash
# The Debian package: made, installed, started, upgraded, removed and purged in a throw-away copy of this system (an overlay
# that is gone afterwards; nothing here is changed). Needs root.
#   ./run prove package
set -euo pipefail
[ "$(id -u)" -eq 0 ] || { echo "package: needs root (mounts an overlay over /)" >&2; exit 77; }
root=$PWD
out=$root/build/package
rm -rf "$out"
mkdir -p "$out"
for version in 0.1.0 0.1.1; do
    cpack --config build/CPackConfig.cmake -B "$out" -D CPACK_PACKAGE_VERSION=$version >"$out/cpack.log" 2>&1 ||
        { tail -20 "$out/cpack.log" >&2; exit 70; }
done
first=$(echo "$out"/whend_0.1.0*.deb) second=$(echo "$out"/whend_0.1.1*.deb)
dpkg-deb --field "$first" Package Version Depends Installed-Size
unit=$out/whend.service
dpkg-deb --fsys-tarfile "$first" | tar -xO ./usr/lib/systemd/system/whend.service >"$unit"
exposure=$(systemd-analyze security --offline=yes "$unit" 2>/dev/null | sed -n 's/.*exposure level for whend.service: \([0-9.]*\).*/\1/p')

cat >"$out/inside.sh" <<'END'
set -euo pipefail
cd /
fail() { echo "package: $*" >&2; exit 1; }
traces() { find /etc /usr /var /run -iname '*whend*' -not -path '/var/lib/dpkg/*' -not -path '/var/log/*' 2>/dev/null | sort; }
start() { # whend as its unit starts it, until it answers; then its orderly end
    install -d -o whend -g whend -m 0750 /var/lib/whend /run/whend
    setpriv --reuid=whend --regid=whend --init-groups --no-new-privs --bounding-set=-all \
        /usr/bin/whend --config /etc/whend/whend.yaml 2>/pkg/log &
    local pid=$! tries
    for tries in $(seq 40); do
        if whenctl status >/pkg/status 2>&1; then break; fi
        kill -0 $pid 2>/dev/null || { cat /pkg/log >&2; fail "whend ended"; }
    done
    grep -q '^whend ' /pkg/status || { cat /pkg/status /pkg/log >&2; fail "whend does not answer"; }
    kill -TERM $pid
    wait $pid || fail "whend ended with $?"
}
before=$(traces)
dpkg -i /pkg/first.deb >/pkg/dpkg.log 2>&1 || { cat /pkg/dpkg.log >&2; fail "it does not install"; }
getent passwd whend >/dev/null || fail "no user whend"
[ "$(stat -c '%a %G' /etc/whend)" = "750 whend" ] || fail "/etc/whend is $(stat -c '%a %G' /etc/whend)"
[ -L /etc/systemd/system/multi-user.target.wants/whend.service ] || fail "the unit is not enabled"
grep -q '^ExecStart=/usr/bin/whend ' /usr/lib/systemd/system/whend.service || fail "the unit names another program"
cp /pkg/whend.yaml /etc/whend/whend.yaml
whend --check-config /usr/share/doc/whend/whend.yaml || fail "the example is refused"
start
sum=$(md5sum </etc/whend/whend.yaml) id=$(sqlite3 /var/lib/whend/index.sqlite 'SELECT id FROM daemon')
dpkg -i /pkg/second.deb >/pkg/dpkg.log 2>&1 || { cat /pkg/dpkg.log >&2; fail "it does not upgrade"; }
[ "$(dpkg-query -W -f '${Version}' whend)" = 0.1.1 ] || fail "not upgraded"
[ "$sum" = "$(md5sum </etc/whend/whend.yaml)" ] || fail "the upgrade changed whend.yaml"
start
[ "$id" = "$(sqlite3 /var/lib/whend/index.sqlite 'SELECT id FROM daemon')" ] || fail "the upgrade lost the index"
dpkg -r whend >/pkg/dpkg.log 2>&1 || { cat /pkg/dpkg.log >&2; fail "it cannot be removed"; }
[ -e /usr/bin/whend ] && fail "removed, and there still"
[ -e /etc/systemd/system/multi-user.target.wants/whend.service ] && fail "removed, and enabled still"
[ -f /etc/whend/whend.yaml ] && [ -f /var/lib/whend/index.sqlite ] || fail "removed, and what is the user's is gone"
dpkg -P whend >/pkg/dpkg.log 2>&1 || { cat /pkg/dpkg.log >&2; fail "it cannot be purged"; }
rm -rf /run/whend # RuntimeDirectory=: systemd's, not the package's
left=$(comm -13 <(echo "$before") <(traces))
[ -z "$left" ] || fail "purged, and left behind: $left"
echo "installed, started, upgraded, started, removed, purged"
END
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/upper" "$work/merged"
export root out work first second
failed=0
unshare --mount --pid --fork bash -euo pipefail -c '
    mount -t tmpfs -o size=2g none "$work/upper"
    mkdir "$work/upper/u" "$work/upper/w"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper/u,workdir=$work/upper/w" "$work/merged"
    m=$work/merged
    mount -t proc proc "$m/proc"
    mount -t tmpfs none "$m/run"
    mount -t tmpfs none "$m/tmp"
    mount --bind /dev "$m/dev"
    mkdir -p "$m/pkg"
    chmod 755 "$m/pkg"
    cp "$first" "$m/pkg/first.deb"
    cp "$second" "$m/pkg/second.deb"
    cp "$out/inside.sh" "$m/pkg/"
    cp "$root/demo/cameras/gate.mp4" "$m/pkg/"
    chmod 644 "$m"/pkg/*
    printf "model:\n  path: /usr/share/whend/demo-model\nhttp: {address: off}\ncameras:\n  gate: {url: /pkg/gate.mp4}\nwatches:\n  red-car: {question: When does a red car drive past?}\n" >"$m/pkg/whend.yaml"
    exec chroot "$m" /bin/bash /pkg/inside.sh
' || failed=1
if [ "$failed" -eq 0 ]; then echo "goal package_failures 0 0 met"; else echo "goal package_failures 1 0 short"; fi
if awk "BEGIN { exit !(${exposure:-10} <= 2.0) }"; then verdict=met; else verdict=short failed=1; fi
echo "goal systemd_exposure ${exposure:-unknown} 2.0 $verdict"
exit $failed
