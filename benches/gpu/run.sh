#!/usr/bin/env bash
# Everything that a machine with a GPU is asked for, in ten minutes, and without building anything.
#
#   benches/gpu/run.sh           from the repository's root; Markdown to standard output, and files to $OUT
#   benches/gpu/run.sh --list    what it would do, and what it would do it with
#   benches/gpu/run.sh --also    the benches of the CPU as well, as far as SECONDS_MAX allows
#
# It is for a bare machine to which the repository was carried with its release binaries in target/release: millstream, loadgen,
# neighbours, gpubench, and in target/release/deps the tests named `cuda_parity`, `cuda_codec` and `cuda_model`. For --also: fanout,
# icount, and in deps the benches `units` and `hop`. What is not there is one line `absent: …`, and the rest goes on. The exit status is the number
# of steps that failed; absent is not failed.
#
#   OUT        where the files go              [benches/results/gpu-DATE]
#   BIN        where the binaries are          [target/release]
#   DEVICE     what the server is to use       [auto]
#   GPU_TESTS  names of the tests with a GPU   [cuda_parity cuda_codec cuda_model]
#   CLIPS      MPEG-TS files to decode beside the bundled one and the drawn ones
#   SANITIZER  compute-sanitizer, when it is not on the path
#   SECONDS_MAX  for all steps together        [570; 900 with --also]
set -u

BIN=${BIN:-target/release}
OUT=${OUT:-benches/results/gpu-$(date +%F)}
DEVICE=${DEVICE:-auto}
GPU_TESTS=${GPU_TESTS:-cuda_parity cuda_codec cuda_model}
SANITIZER=${SANITIZER:-compute-sanitizer}
[[ ${1:-} != --also ]] || SECONDS_MAX=${SECONDS_MAX:-900}
SECONDS_MAX=${SECONDS_MAX:-570}
ABSENT=77 # a step's exit status when what it needs is not there

# name, seconds at most, what it does. They add up to less than SECONDS_MAX.
steps() {
    cat <<'END'
machine 15 what the machine is: GPU, driver, codec libraries, CPU, memory, kernel, io_uring
devices 15 what millstream finds, for people and as JSON, and what it says when it starts
parity 75 the tests that hold kernels and codecs on the device against their twins on the CPU
decode 20 gpubench: whether the pictures that the device decodes are those of the CPU's decoder
ceiling 55 gpubench: what the decoders give by themselves, and how much of it lanes keep
encode 60 gpubench: pictures a second that are encoded, on the device or beside it
copies 15 gpubench: bytes a frame between host and device, beside the bitstream's
model 25 gpubench: an ONNX model, by itself and in batches
recover 20 gpubench: how long after the device was lost frames flow again
live 35 loadgen live against millstream orchestrator: 4 sessions of builtin/edges
neighbours 55 one damaged session and its neighbours
most-720p 65 neighbours --search: the most sessions of 1280x720 at 30 frames/s with p99 at most 100 ms
most-1080p 65 the same of 1920x1080
sanitizer 45 compute-sanitizer over a short demo
END
    [[ -z ${ALSO:-} ]] || cat <<'END'
demo 40 millstream demo --seconds 10: the main job, judged
trickle 60 loadgen trickle against millstream orchestrator: 20 channels with 5 subscribers each
fanout 120 fanout run: fan-out beside the least that any server could do
icount 50 icount: instructions of each part, by callgrind
units 110 the criterion bench of each part: nanoseconds
hop 40 the criterion bench of a hop between two shards
END
}

main() {
    case ${1:-} in
    --list) list ;;
    --step) run_step "$2" ;;
    '' | --also) run_all ;;
    *)
        echo "usage: $0 [--list | --also]" >&2
        return 64
        ;;
    esac
}

list() {
    local name limit what
    while read -r name limit what; do
        echo "$name, $limit s at most: $what"
        needs "$name" | sed 's/^/    /'
    done < <(steps)
}

# One line for each thing that a step needs, beginning with `absent:` when it is not there.
needs() {
    case $1 in
    machine) describe_tool nvidia-smi && describe_tool python3 ;;
    devices | demo) describe_binary millstream ;;
    decode | ceiling | encode | copies | model | recover) describe_binary gpubench ;;
    neighbours | most-*) describe_binary millstream && describe_binary neighbours ;;
    sanitizer) describe_binary millstream && describe_tool "$SANITIZER" ;;
    trickle | live) describe_binary millstream && describe_binary loadgen ;;
    fanout) describe_binary millstream && describe_binary fanout ;;
    icount) describe_binary icount && describe_tool valgrind ;;
    units | hop) describe_deps "$1" ;;
    parity)
        local test
        for test in $GPU_TESTS; do describe_deps "$test"; done
        ;;
    esac
}

describe_binary() {
    if [[ -x $BIN/$1 ]]; then echo "$BIN/$1"; else echo "absent: $BIN/$1"; fi
}

describe_tool() {
    command -v "$1" || echo "absent: $1"
}

describe_deps() {
    local found
    found=$(newest_of "$1")
    if [[ -n $found ]]; then echo "$found"; else echo "absent: $BIN/deps/$1-*"; fi
}

# === all steps ===

run_all() {
    local name limit what
    if ! mkdir -p "$OUT"; then
        echo "nothing can be written to $OUT" >&2
        return 1
    fi
    echo "# A machine with a GPU, or without"
    echo
    echo "- date: $(date -u +%FT%TZ)"
    echo "- commit: $(commit)"
    echo "- files: \`$OUT\`"
    while read -r name limit what; do
        one_step "$name" "$limit" "$what"
    done < <(steps)
    summary
}

RESULTS=()
FAILED=0

# Runs a step in a process of its own, which can be ended, and writes what it says to the report as it comes.
one_step() {
    local name=$1 limit=$2 what=$3 start=$SECONDS left status
    printf '\n## %s\n\n%s.\n\n' "$name" "$what"
    left=$((SECONDS_MAX - SECONDS))
    if ((left < 5)); then
        say "$name" failed "no time was left of $SECONDS_MAX s"
        return
    fi
    ((limit <= left)) || limit=$left
    export OUT BIN DEVICE GPU_TESTS SANITIZER
    timeout --kill-after=5 "$limit" bash "$0" --step "$name" </dev/null 2>&1
    status=$?
    case $status in
    0) say "$name" passed "$((SECONDS - start)) s" ;;
    "$ABSENT") say "$name" absent "what it needs is not here" ;;
    124 | 137) say "$name" failed "it ran past its $limit s" ;;
    *) say "$name" failed "exit status $status, after $((SECONDS - start)) s" ;;
    esac
}

say() {
    RESULTS+=("| $1 | $2 | $3 |")
    [[ $2 != failed ]] || FAILED=$((FAILED + 1))
    printf '\n%s: **%s**, %s\n' "$1" "$2" "$3"
}

summary() {
    printf '\n## Summary\n\n| step | outcome | |\n|---|---|---|\n'
    printf '%s\n' "${RESULTS[@]}"
    printf '\n%d of %d steps failed, in %d s\n' "$FAILED" "${#RESULTS[@]}" "$SECONDS"
    return "$FAILED"
}

commit() {
    git rev-parse HEAD 2>/dev/null || echo "unknown"
}

# === one step ===

run_step() {
    case $1 in
    decode | ceiling | encode | copies | model | recover) step_gpubench "$1" ;;
    most-720p) step_most "$1" 1280x720 4 ;;
    most-1080p) step_most "$1" 1920x1080 2 ;;
    machine | devices | parity | live | neighbours | sanitizer | demo | trickle | fanout | icount | units | hop) "step_$1" ;;
    *)
        echo "no such step: $1" >&2
        return 64
        ;;
    esac
}

step_machine() {
    echo '| what | found |'
    echo '|---|---|'
    row CPU "$(nproc) × $(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1)"
    row memory "$(sed -n 's/^MemTotal:\s*//p' /proc/meminfo)"
    row kernel "$(uname -r)"
    row 'open files' "$(ulimit -Sn), at most $(ulimit -Hn)"
    row 'locked memory' "$(ulimit -Sl) KiB, at most $(ulimit -Hl)"
    row io_uring "$(io_uring)"
    row GPU "$(gpu)"
    row CUDA "$(command -v nvcc >/dev/null && nvcc --version | sed -n 's/^Cuda compilation tools, //p' || echo 'absent: nvcc')"
    local library
    for library in libcuda.so.1 libnvidia-ml.so.1 libnvcuvid.so.1 libnvidia-encode.so.1 libnvrtc.so.13 libnvrtc.so.12; do
        row "$library" "$(library "$library")"
    done
}

row() {
    echo "| $1 | ${2//$'\n'/; } |"
}

gpu() {
    command -v nvidia-smi >/dev/null || {
        echo 'absent: nvidia-smi'
        return
    }
    nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap,clocks.sm --format=csv,noheader 2>&1 ||
        echo 'nvidia-smi is there and fails'
}

# Whether the dynamic linker can load it: to find it in a list is not enough.
library() {
    if command -v python3 >/dev/null; then
        python3 -c 'import ctypes, sys
try: ctypes.CDLL(sys.argv[1]); print("loads")
except OSError as why: print("absent:", why)' "$1"
    elif ldconfig -p 2>/dev/null | grep -q "$1"; then
        echo 'listed; not tried, absent: python3'
    else
        echo 'absent: not listed by ldconfig'
    fi
}

io_uring() {
    local setting=/proc/sys/kernel/io_uring_disabled
    if [[ -r $setting ]]; then
        case $(<$setting) in
        0) printf 'not disabled' ;;
        1) printf 'for some groups only' ;;
        *) printf 'disabled' ;;
        esac
    else
        printf 'not shown by the kernel'
    fi
    # io_uring_setup is 425 everywhere.
    command -v python3 >/dev/null && python3 -c 'import ctypes
libc = ctypes.CDLL(None, use_errno=True)
fd = libc.syscall(425, 8, ctypes.byref((ctypes.c_uint * 30)()))
print("; a ring", "can be had" if fd >= 0 else "cannot be had, errno %d" % ctypes.get_errno(), end="")'
    echo
}

step_devices() {
    need_binary millstream
    fenced "$BIN/millstream" devices || return
    "$BIN/millstream" devices --json >"$OUT/devices.json" || return
    start_server
    fenced cat "$WORK/server.out"
}

step_parity() {
    local test found failed=0 seen=0
    for test in $GPU_TESTS; do
        found=$(newest_of "$test")
        if [[ -z $found ]]; then
            echo "absent: $BIN/deps/$test-*"
            continue
        fi
        seen=1
        fenced "$found" || failed=1
    done
    ((seen)) || exit "$ABSENT"
    return "$failed"
}

# One question of gpubench, which knows what a device is; it says itself what the machine lacks, with status 77, and that a promise is
# broken, with status 4. What the codec libraries mutter goes to a file.
step_gpubench() {
    need_binary gpubench
    local log=$OUT/gpubench-$1.log status
    "$BIN/gpubench" "$1" --device "$DEVICE" 2>"$log"
    status=$?
    if [[ $1 == decode && $status == [04] ]]; then
        local clip clips=() of_files
        for clip in control/node/assets/clip.ts ${CLIPS:-}; do clips+=(--clip "$clip"); done
        "$BIN/gpubench" decode --device "$DEVICE" "${clips[@]}" 2>>"$log"
        of_files=$?
        ((of_files == 0)) || status=$of_files
    fi
    ((status != 1)) || fenced tail -n 5 "$log"
    return "$status"
}

step_neighbours() {
    need_binary millstream
    need_binary neighbours
    # Status 4 is a promise that is not kept: the step has failed, and the table says by how much.
    markdown_of neighbours "$BIN/neighbours" --server "$BIN/millstream" --device "$DEVICE" --rounds 2 --seconds 6 --out "$OUT/neighbours.md"
}

# The most sessions of pictures of size $2, of $3 at least; the search stops well before the step's limit, with what it has.
step_most() {
    need_binary millstream
    need_binary neighbours
    markdown_of "$1" "$BIN/neighbours" --search --server "$BIN/millstream" --device "$DEVICE" --size "$2" --from "$3" --seconds 2 --limit 48 --out "$OUT/$1.md"
}

step_sanitizer() {
    need_binary millstream
    need_tool "$SANITIZER"
    if ! "$BIN/millstream" devices --json | grep -q '"preferred": "cuda'; then
        echo 'absent: a device to watch; millstream would use the CPU'
        exit "$ABSENT"
    fi
    # The tool slows every kernel down a good deal: what counts is that it finds no error, not that the demo keeps up.
    fenced "$SANITIZER" --error-exitcode 99 "$BIN/millstream" demo --device "$DEVICE" --seconds 2 --out "$WORK/demo"
    local status=$?
    ((status != 99)) || return 1
    echo
    echo "no error found; the demo itself ended with status $status"
}

step_demo() {
    need_binary millstream
    fenced "$BIN/millstream" demo --device "$DEVICE" --seconds 10 --out "$WORK/demo"
}

step_trickle() {
    need_binary millstream
    need_binary loadgen
    start_server
    fenced "$BIN/loadgen" trickle --target "$TARGET" --channels 20 --subscribers 5 --window 10s --out "$OUT/loadgen-trickle" || return
    server_cost
}

step_live() {
    need_binary millstream
    need_binary loadgen
    start_server
    fenced "$BIN/loadgen" live --target "$TARGET" --sessions 4 --model builtin/edges --warmup 2s --window 10s --out "$OUT/loadgen-live" || return
    server_cost
}

step_fanout() {
    need_binary millstream
    need_binary fanout
    local cpus
    mapfile -t cpus < <(allowed_cpus)
    if ((${#cpus[@]} < 2)); then
        echo 'absent: a second CPU'
        exit "$ABSENT"
    fi
    # Two rounds of two scenarios on two servers: eight times ten seconds.
    fenced "$BIN/fanout" run --server "$BIN/millstream" --server-cpu "${cpus[0]}" --load-cpu "${cpus[1]}" \
        --rounds 2 --seconds 6 --warmup 4 --out "$OUT/fanout.md"
}

step_icount() {
    need_binary icount
    need_tool valgrind
    # Its table is Markdown by itself.
    "$BIN/icount" --out "$OUT/icount.txt"
}

step_units() {
    criterion units --warm-up-time 0.3 --measurement-time 1.5 --sample-size 20
}

step_hop() {
    criterion hop --warm-up-time 0.5 --measurement-time 2 --sample-size 20
}

# === helpers of steps ===

criterion() {
    local found
    found=$(newest_of "$1")
    if [[ -z $found ]]; then
        echo "absent: $BIN/deps/$1-*"
        exit "$ABSENT"
    fi
    shift
    CRITERION_HOME="$WORK/criterion" fenced "$found" --bench --noplot "$@"
}

# The newest executable of that name that cargo has left, or nothing.
newest_of() {
    local file newest=
    for file in "$BIN/deps/$1"-*; do
        if [[ -f $file && -x $file && ${file##*/} =~ ^"$1"-[0-9a-f]{16}$ ]]; then
            [[ -n $newest && $newest -nt $file ]] || newest=$file
        fi
    done
    echo "$newest"
}

need_binary() {
    if [[ ! -x $BIN/$1 ]]; then
        echo "absent: $BIN/$1"
        exit "$ABSENT"
    fi
}

need_tool() {
    if ! command -v "$1" >/dev/null; then
        echo "absent: $1"
        exit "$ABSENT"
    fi
}

# Runs what writes Markdown by itself; its progress goes to $OUT/$1.log, whose end is shown when it fails.
markdown_of() {
    local log=$OUT/$1.log status
    shift
    "$@" 2>"$log"
    status=$?
    ((status == 0)) || fenced tail -n 40 "$log"
    return "$status"
}

fenced() {
    local status
    IS_FENCED=1
    echo '```'
    "$@"
    status=$?
    echo '```'
    IS_FENCED=
    return "$status"
}

# Starts an orchestrator on a free port of this machine and waits for its report. Sets SERVER and TARGET.
start_server() {
    # There before it is looked into, however slowly the child begins.
    : >"$WORK/server.out"
    "$BIN/millstream" orchestrator --service-addr http://127.0.0.1:0 --trickle-autocreate --device "$DEVICE" --data-dir "$WORK/data" \
        --log warn >"$WORK/server.out" 2>"$WORK/server.err" </dev/null &
    SERVER=$!
    local tries port
    for ((tries = 0; tries < 150; tries++)); do
        port=$(sed -n 's/^ *listening *127\.0\.0\.1:\([0-9]*\),.*/\1/p' "$WORK/server.out")
        if [[ -n $port ]] && grep -q '^ *drain ' "$WORK/server.out"; then
            TARGET=http://127.0.0.1:$port
            return
        fi
        kill -0 "$SERVER" 2>/dev/null || break
        sleep 0.1
    done
    echo 'millstream orchestrator did not start:'
    fenced cat "$WORK/server.out" "$WORK/server.err"
    exit 1
}

# What the server used, while it still runs.
server_cost() {
    echo
    echo "server: $(sed -n 's/^VmHWM:\s*//p' "/proc/$SERVER/status") at most in memory, $(cpu_seconds) s of CPU"
    # Whatever it complained of belongs to the result.
    if [[ -s $WORK/server.err ]]; then
        fenced tail -n 20 "$WORK/server.err"
    fi
}

# User and system time, fields 14 and 15; the name in parentheses may have blanks, so they are counted from behind it.
cpu_seconds() {
    sed 's/.*) //' "/proc/$SERVER/stat" | awk -v hz="$(getconf CLK_TCK)" '{ printf "%.2f", ($12 + $13) / hz }'
}

# One a line, from a list such as 0-3,8.
allowed_cpus() {
    local range
    for range in $(sed -n 's/^Cpus_allowed_list:\s*//p' /proc/self/status | tr , ' '); do
        seq "${range%-*}" "${range#*-}"
    done
}

# A step's own folder, and the server that it started, do not outlive it.
clean_up() {
    local tries
    [[ -z ${IS_FENCED:-} ]] || echo '```'
    if [[ -n ${SERVER:-} ]] && kill "$SERVER" 2>/dev/null; then
        for ((tries = 0; tries < 30; tries++)); do
            kill -0 "$SERVER" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL "$SERVER" 2>/dev/null
    fi
    rm -rf "$WORK"
}

if [[ ${1:-} == --step ]]; then
    WORK=$(mktemp -d) || exit 1
    trap clean_up EXIT
    trap 'exit 143' TERM INT
    main "$@"
elif [[ -z ${1:-} || $1 == --also ]]; then
    [[ -z ${1:-} ]] || export ALSO=1
    mkdir -p "$OUT" && main "$@" | tee "$OUT/report.md"
    exit "${PIPESTATUS[0]}"
else
    main "$@"
fi
