# tests/e2e/lib_engine.sh - what the end-to-end tests of the engine share: a tiny experiment and TAP lines.
# The experiment is complete and small: 8 rendered people, two defenses, a real GAN, a real inversion, a judge.
: "${ENGINE_BIN:?}" "${TEST_TMP:=$(mktemp -d)}"
n=0 bad=0
ok() { n=$((n + 1)); echo "ok $n - $1"; }
not_ok() { n=$((n + 1)); bad=1; echo "not ok $n - $1"; [ -n "${2:-}" ] && echo "# $2"; }
check() { # name, command...
    local name=$1
    shift
    if "$@"; then ok "$name"; else not_ok "$name" "$*"; fi
}

write_spec() { # file
    cat >"$1" <<SPEC
[run]
name = tiny
seed = 4
device = cpu
precision = fp32
threads = 2
checkpoint_every = 0
report_every = 0.1
[data]
name = synthfaces
size = 32
[data.synthfaces]
identities = 8
photos = 20
public_identities = 100
public_photos = 2
difficulty = 0.2
[target]
model = quick
epochs = 6
batch = 16
[judge]
model = quickres
size = 32
epochs = 6
batch = 16
keep = best
[defense]
name = none, midre
[attack]
name = gmi
identities = 3
restarts = 2
[attack.gmi]
gan_steps = 12
gan_batch = 16
gan_width = 16
iterations = 25
SPEC
}

new_run() { # workspace -> its run folder
    mkdir -p "$1/runs/0001"
    write_spec "$1/runs/0001/spec.ini"
    echo "$1/runs/0001"
}

# The same with targets (and, if said, the judge) that begin with weights learnt on the public people.
pretrain_spec() { # run folder, sections
    local section
    for section in "${@:2}"; do sed -i "s/^\[$section\]\$/&\npretrained = yes/" "$1/spec.ini"; done
    printf '[pretrain]\nepochs = 25\nmin_images = 2\n' >>"$1/spec.ini"
}

# The bytes of every product, without what is told about when and where it was made.
product_sums() { # workspace
    (cd "$1/cache" && find . -type f ! -name product.json ! -name '*.tmp*' | LC_ALL=C sort | xargs sha256sum)
}
# The table rows and verdicts, without times; a later session repeats them, so the last of each counts.
rows() { # run folder
    grep -hE '"t":"(score|recon)"' "$1/journal.jsonl" | sed 's/,"v":1,"at":[0-9.]*//' | LC_ALL=C sort -u
}

# Starts the engine, waits until a stage whose line matches is at work since that start, waits a random moment, kills.
# A line that matches the second expression says that it is too late: the engine ends without being counted.
killed=0
kill_in() { # run folder, regular expression on a stage's line, another on any line (nothing)
    local from pid said journal=$1/journal.jsonl late=${3:-^no such line}
    from=$(($(cat "$journal" 2>/dev/null | wc -c) + 1))
    "$ENGINE_BIN" run "$1" >>"$TEST_TMP/cut.log" 2>&1 &
    pid=$!
    while kill -0 $pid 2>/dev/null; do
        said=$(tail -c +$from "$journal" 2>/dev/null)
        if grep -qE "$late" <<<"$said"; then
            kill -9 $pid 2>/dev/null
            break
        fi
        if grep -E "$2" <<<"$said" | grep -qE '"state":"(start|resume)"'; then
            sleep "0.$(printf %02d $((RANDOM % 45)))"
            kill -9 $pid 2>/dev/null && ! tail -c +$from "$journal" | grep -qE "$late" && killed=$((killed + 1))
            break
        fi
        sleep 0.02
    done
    wait $pid 2>/dev/null
}
