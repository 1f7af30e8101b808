#!/usr/bin/env bash
# A loop that survives any death: writes the digest of each file of a folder into another folder, a file a step.
#
#     rekindle-shim --agent digest -- examples/digest.sh INPUT OUTPUT
#
# Kill it at any moment, with SIGKILL too: its next life goes on where it was, and does no step twice. The lines marked
# with `# rekindle` are all that it takes.
set -euo pipefail
input=$1 output=$2
mkdir -p "$output"

eval "$(rekindle self load --export)"                                           # rekindle
step=0
for file in "$input"/*; do
    step=$((step + 1))
    if ((step <= ${REKINDLE_STAGE:-0})); then continue; fi                      # rekindle
    result="$output/${file##*/}"
    # The result appears as a whole or not at all, so that a step which was done and not saved is not done again.
    if ! [ -e "$result" ]; then
        echo "begins $file" >>"$output/.log"
        sha256sum "$file" >"$result.part"
        sleep "${PACE:-0}" # a step that takes its time
        mv "$result.part" "$result"
        echo "ends $file" >>"$output/.log"
    fi
    rekindle self save --task-id digest --stage "$step" --set "file=$file"      # rekindle
done
rekindle self close                                                             # rekindle
echo "all $step files are done" >&2
