#!/bin/sh
# Installs the Debian/Ubuntu packages midre is built, run and tested with; prints what it does.
#   scripts/deps.sh            what building and running needs
#   scripts/deps.sh test       also what the tests use (references and terminals)
set -eu

build="gcc g++ make libncurses-dev libsixel-dev libpng-dev libjpeg62-turbo-dev libiniparser-dev libjansson-dev"
build="$build libssl-dev libopenblas-dev binutils"
needed="libcmocka-dev"
optional="tmux xterm xvfb imagemagick libsixel-bin ncurses-term ncurses-bin python3 python3-pil python3-numpy"
optional="$optional python3-torch python3-torchvision"

command -v dpkg-query >/dev/null 2>&1 || {
    echo "midre: not a Debian or Ubuntu system; install these or their like yourself: $build libtorch-dev" >&2
    exit 0
}
want=$build
# Debian's libtorch is only needed when no other libtorch was named.
venv=$(ls -d "${VIRTUAL_ENV:-/nonexistent}"/lib/python3*/site-packages/torch/include 2>/dev/null || :)
[ -n "${LIBTORCH:-}${PYTHON:-}$venv" ] || want="$want libtorch-dev"
[ "${1:-}" = test ] && want="$want $needed $optional"

missing=
for p in $want; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
# Ubuntu calls the JPEG library's development package differently; any provider will do.
if [ -e /usr/include/jpeglib.h ]; then missing=$(echo "$missing" | sed 's/ libjpeg62-turbo-dev//'); fi
[ -n "$missing" ] || exit 0

# What no build needs may stay away: the tests that compare with it then say "skipped".
is_optional() { case " $optional " in *" $1 "*) return 0 ;; esac; return 1; }
required=
for p in $missing; do is_optional "$p" || required="$required $p"; done

sudo=
if [ "$(id -u)" != 0 ]; then
    sudo=sudo
    command -v sudo >/dev/null 2>&1 || {
        echo "midre: these packages are missing and neither root nor sudo is at hand:$missing" >&2
        [ -z "$required" ] && exit 0
        exit 1
    }
fi
command -v apt-get >/dev/null 2>&1 || {
    echo "midre: apt-get is not here to install what is missing:$missing" >&2
    exit 1
}
apt_log=$(mktemp)
trap 'rm -f "$apt_log"' EXIT
reason() { grep -m1 '^E:' "$apt_log" || tail -n 1 "$apt_log"; }
get() { # packages...; what apt says goes to the log, its first error is told on one line by the caller
    # Another apt at work (automatic updates, often) is waited for.
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o DPkg::Lock::Timeout=300 "$@" >"$apt_log" 2>&1
}
echo "midre: installing with apt-get:$missing"
$sudo apt-get update -qq >"$apt_log" 2>&1 || echo "midre: apt-get update: $(reason); trying with the lists at hand" >&2
case " $missing " in *" libjpeg62-turbo-dev "*)
    apt-cache show libjpeg62-turbo-dev >/dev/null 2>&1 ||
        missing=$(echo "$missing" | sed 's/libjpeg62-turbo-dev/libjpeg-dev/') ;;
esac
# shellcheck disable=SC2086
get $missing && exit 0
# One package apt cannot have must not cost the others.
failed=
for p in $missing; do
    get "$p" && continue
    if is_optional "$p"; then
        echo "midre: apt-get could not install $p ($(reason)); tests that need it will be skipped" >&2
    else
        failed="$failed $p" why=$(reason)
    fi
done
[ -z "$failed" ] && exit 0
echo "midre: apt-get could not install$failed ($why); install these yourself, then run make again" >&2
exit 1
