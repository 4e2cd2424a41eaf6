# Shared by the terminal tests: TAP lines, a private tmux, a workspace with invented runs.
# Env: MIDRE_BIN, TEST_TMP (both set by tests/run.sh; defaults for running a test by hand).
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
: "${MIDRE_BIN:=$root/midre}" "${TEST_TMP:=$(mktemp -d)}"
tmp=$(mktemp -d "$TEST_TMP/terminal.XXXXXX")
socket=midre-test-$$
n=0
ok() { n=$((n + 1)); echo "ok $n - $1"; }
bad() { n=$((n + 1)); echo "not ok $n - $1"; [ $# -gt 1 ] && printf '%s\n' "$2" | sed 's/^/# /'; }
skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }
finish() { tm kill-server 2>/dev/null; rm -rf "$tmp"; echo "1..$n"; }
need() { for p in "$@"; do command -v "$p" >/dev/null || { skip "$(basename "$0")" "$p is not installed"; echo "1..$n"; exit 0; }; done; }
[ -x "$MIDRE_BIN" ] || { bad "midre is built" "no $MIDRE_BIN"; echo "1..$n"; exit 1; }

tm() { tmux -L "$socket" -f /dev/null "$@"; }
# start COLS ROWS [VAR=value...]: midre in a fresh pane; "EXIT code" appears when it ends
start() {
    local cols=$1 rows=$2
    shift 2
    tm has-session -t keep 2>/dev/null || tm new-session -d -s keep -x 80 -y 24 "sleep 3600" # the server lives on
    tm kill-session -t t 2>/dev/null
    tm new-session -d -s t -x "$cols" -y "$rows" \
        "env MIDRE_WORKSPACE=$tmp/ws MIDRE_ASSETS=$root/assets LC_ALL=${LOC:-C.UTF-8} $* $MIDRE_BIN $ARGS 2>$tmp/err; echo EXIT \$?; sleep 600"
}
keys() { tm send-keys -t t "$@" 2>/dev/null; }
screen() { tm capture-pane -p -t t 2>/dev/null; }
# sees TEXT [SECONDS]: waits until the screen shows it (fixed string).  The limit is far beyond what any machine needs:
# it ends a test that hangs, it does not judge speed.
sees() {
    local end=$((SECONDS + ${2:-90}))
    while [ $SECONDS -le $end ]; do
        screen | grep -qF -- "$1" && return 0
        sleep 0.1
    done
    return 1
}
# expect NAME TEXT...: one test line; all texts must come to the screen
expect() {
    local name=$1 t
    shift
    for t in "$@"; do sees "$t" || { bad "$name" "not on screen: $t
$(screen)"; return 1; }; done
    ok "$name"
}
# leaves TEXT: waits until the screen no longer shows it
leaves() {
    local end=$((SECONDS + 90))
    while [ $SECONDS -le $end ]; do
        screen | grep -qF -- "$1" || return 0
        sleep 0.1
    done
    return 1
}
# says NAME TEXT: what midre wrote to standard error
says() { if grep -qF -- "$2" "$tmp/err"; then ok "$1"; else bad "$1" "$(cat "$tmp/err")"; fi; }
