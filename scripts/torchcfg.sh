#!/bin/sh
# Finds libtorch and prints a Makefile fragment (NAME := value lines).
# Order: LIBTORCH=DIR, the torch of PYTHON= or of the active virtual environment, Debian's libtorch-dev.
# CUDA=0 leaves the CUDA half of a libtorch out, CUDA=1 insists on it; unset takes it where it is.
# Nothing is imported: a python only says where its torch lies (an import costs seconds and may want libraries that
# this build does not).
set -u

# The string ABI its C++ was compiled with, read off the names in libc10.
abi_of() {
    case $(strings -n 8 "$1/lib/libc10.so" 2>/dev/null | grep -m1 -c 'NSt7__cxx1112basic_string') in
    0) echo 0 ;;
    *) echo 1 ;;
    esac
}

emit() { # root, where it came from
    root=$1 origin=$2
    hdr=$root/include/ATen/ATen.h
    std=c++17
    grep -q 202002L "$hdr" 2>/dev/null && std=c++20
    cuda=0
    [ -e "$root/lib/libtorch_cuda.so" ] && [ "${CUDA:-1}" != 0 ] && cuda=1
    if [ "${CUDA:-}" = 1 ] && [ $cuda = 0 ]; then
        echo "midre: CUDA=1, but the libtorch of $origin ($root) has no libtorch_cuda.so; name a CUDA one with LIBTORCH= or PYTHON=" >&2
        exit 1
    fi
    printf 'TORCH_ROOT := %s\nTORCH_ORIGIN := %s\nTORCH_STD := %s\nTORCH_CUDA := %s\nTORCH_ABI := %s\n' \
        "$root" "$origin" "$std" "$cuda" "${abi:-1}"
    printf 'midre: libtorch from %s (%s), %s\n' "$origin" "$root" \
        "$([ $cuda = 1 ] && echo CUDA || echo 'CPU only')" >&2
    exit 0
}

if [ -n "${LIBTORCH:-}" ]; then
    if [ ! -e "$LIBTORCH/include/ATen/ATen.h" ]; then
        echo "midre: LIBTORCH=$LIBTORCH has no include/ATen/ATen.h; point it at an unpacked libtorch or site-packages/torch" >&2
        exit 1
    fi
    LIBTORCH=$(cd "$LIBTORCH" && pwd) # it becomes a run path
    abi=$(abi_of "$LIBTORCH")
    emit "$LIBTORCH" "LIBTORCH"
fi

python=${PYTHON:-}
[ -z "$python" ] && [ -n "${VIRTUAL_ENV:-}" ] && python=$VIRTUAL_ENV/bin/python
if [ -n "$python" ]; then
    found=$("$python" -c 'import importlib.util as u
s = u.find_spec("torch")
print(s.submodule_search_locations[0] if s else "")' 2>/dev/null)
    if [ -n "$found" ] && [ -e "$found/include/ATen/ATen.h" ]; then
        abi=$(abi_of "$found")
        emit "$found" "$python"
    fi
    if [ -n "${PYTHON:-}" ]; then
        echo "midre: PYTHON=$PYTHON has no torch with headers; pip install torch there, or unset PYTHON" >&2
        exit 1
    fi
    echo "midre: the active virtual environment has no torch with headers; trying Debian's libtorch-dev" >&2
fi

if [ -e /usr/include/ATen/ATen.h ]; then
    if [ "${CUDA:-}" = 1 ]; then
        echo "midre: CUDA=1, but Debian's libtorch-dev computes on the CPU only; name a CUDA one with LIBTORCH= or PYTHON=" >&2
        exit 1
    fi
    printf 'TORCH_ROOT :=\nTORCH_ORIGIN := libtorch-dev\nTORCH_STD := c++17\nTORCH_CUDA := 0\nTORCH_ABI := 1\n'
    echo "midre: libtorch from Debian's libtorch-dev (CPU only)" >&2
    exit 0
fi
echo "midre: no libtorch found; run 'make deps', or give LIBTORCH=DIR or PYTHON=python-with-torch" >&2
exit 1
