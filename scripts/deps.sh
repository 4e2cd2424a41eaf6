#!/bin/sh
# Installs the Debian/Ubuntu packages midre is built, run and tested with; prints what it does.
#   scripts/deps.sh            what building and running needs
#   scripts/deps.sh test       also what the tests use (references and terminals)
set -eu

build="gcc g++ make pkg-config libncurses-dev libsixel-dev libpng-dev libjpeg62-turbo-dev libiniparser-dev
       libjansson-dev libssl-dev libopenblas-dev binutils"
test="libcmocka-dev tmux xterm xvfb imagemagick libsixel-bin ncurses-term ncurses-bin python3 python3-pil
      python3-numpy python3-torch python3-torchvision"

command -v dpkg-query >/dev/null 2>&1 || {
    echo "midre: not a Debian or Ubuntu system; install these or their like yourself: $build libtorch" >&2
    exit 0
}
want=$build
# Debian's libtorch is only needed when no other libtorch was named.
[ -n "${LIBTORCH:-}${PYTHON:-}${VIRTUAL_ENV:-}" ] || want="$want libtorch-dev"
[ "${1:-}" = test ] && want="$want $test"

missing=
for p in $want; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
# Ubuntu calls the JPEG library's development package differently; any provider will do.
if [ -e /usr/include/jpeglib.h ]; then missing=$(echo "$missing" | sed 's/ libjpeg62-turbo-dev//'); fi
[ -n "$missing" ] || exit 0

sudo=
if [ "$(id -u)" != 0 ]; then
    sudo=sudo
    command -v sudo >/dev/null 2>&1 || {
        echo "midre: these packages are missing and neither root nor sudo is at hand: $missing" >&2
        exit 1
    }
fi
echo "midre: installing with apt-get:$missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq || echo "midre: apt-get update failed; trying with the lists at hand" >&2
case " $missing " in *" libjpeg62-turbo-dev "*)
    apt-cache show libjpeg62-turbo-dev >/dev/null 2>&1 ||
        missing=$(echo "$missing" | sed 's/libjpeg62-turbo-dev/libjpeg-dev/') ;;
esac
# shellcheck disable=SC2086
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
