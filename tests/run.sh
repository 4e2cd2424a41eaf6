#!/bin/bash
# Runs the tests and adds up their TAP lines.  tests/run.sh quick|long|asan   (called by make; see Makefile)
# Skips are counted apart and named.  The last line is "N passed, N failed, N skipped".
set -u
cd "$(dirname "$0")/.." || exit 2
mode=${1:-quick}
: "${BUILD:=build}"
TEST_TMP=$(mktemp -d "${TMPDIR:-/tmp}/midre-test.XXXXXX") || exit 2
export TEST_TMP BUILD MIDRE_BIN ENGINE_BIN CMOCKA_MESSAGE_OUTPUT=TAP
export MIDRE_WORKSPACE=$TEST_TMP/workspace LC_ALL=C.UTF-8 OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
# libtorch's static registries are never freed; leaks of our own are still reported.
export LSAN_OPTIONS=suppressions=$PWD/tests/lsan.supp:print_suppressions=0 ASAN_OPTIONS=detect_leaks=1
trap 'rm -rf "$TEST_TMP"' EXIT

passed=0 failed=0 skipped=0
run_one() { # name, command...
    local name=$1 log=$TEST_TMP/log rc ok bad skip start=$SECONDS
    shift
    "$@" >"$log" 2>"$log.err" </dev/null
    rc=$?
    # cmocka's TAP says "not ok" of a skipped test.
    skip=$(grep -ciE '^(not )?ok .*# *skip' "$log")
    ok=$(grep -E '^ok ' "$log" | grep -ciEv '# *skip')
    bad=$(grep -E '^not ok ' "$log" | grep -ciEv '# *skip')
    # A crash or an early exit must not look like success.
    if [ $rc -ne 0 ] && [ "$bad" -eq 0 ] || [ $((ok + bad + skip)) -eq 0 ]; then bad=$((bad + 1)); fi
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
    printf '%-44s %4d passed %3d failed' "$name" "$ok" "$bad"
    [ "$skip" -gt 0 ] && printf ' %3d skipped' "$skip"
    echo "  ($((SECONDS - start)) s)"
    grep -iE '^(not )?ok .*# *skip' "$log" | sed 's/^not //; s/^/    /'
    if [ "$bad" -gt 0 ]; then
        echo "    exit code $rc"
        grep -vE '^ok ' "$log" | tail -n 40 | sed 's/^/    /'
        tail -n 40 "$log.err" | sed 's/^/    /'
    fi
}

for t in "$BUILD"/tests/unit/test_* "$BUILD"/tests/engine/test_*; do
    case $t in *.o | *.d | *.c) continue ;; esac
    [ -x "$t" ] && [ -f "$t" ] && run_one "${t#"$BUILD"/}" "$t"
done
if [ "$mode" != asan ]; then
    for t in tests/e2e/*.sh tests/terminal/*.sh; do
        case $t in */lib*.sh | */fixture*) continue ;; esac
        [ -f "$t" ] && run_one "$t" bash "$t"
    done
fi
if [ "$mode" = long ]; then
    for t in tests/long/*.sh; do [ -f "$t" ] && run_one "$t" bash "$t"; done
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
