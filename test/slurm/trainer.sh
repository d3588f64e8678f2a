#!/bin/bash
# A job that writes pairs, and is stopped while it saves one. In a later life it resumes from what its epilog names.
set -euo pipefail
checkpoints=$PWD/run/checkpoints
whole=$1 # a directory with a whole pair
resume=.bundlewatch-resume-$SLURM_JOB_ID
mkdir -p "$checkpoints"

save() { # save EPOCH: a pair, in two writes each
  local role
  for role in autoencoder diffraction_to_obj; do
    { head -c 3000 "$whole/$role-epoch=00.ckpt"; tail -c +3001 "$whole/$role-epoch=00.ckpt"; } >"$checkpoints/$role-epoch=$1.ckpt"
  done
}

save_slowly() { # save_slowly EPOCH: it will not come to the end of the second file
  cp "$whole/autoencoder-epoch=00.ckpt" "$checkpoints/autoencoder-epoch=$1.ckpt"
  { head -c 3000 "$whole/diffraction_to_obj-epoch=00.ckpt"; touch "$PWD/saving"; sleep 300; } >"$checkpoints/diffraction_to_obj-epoch=$1.ckpt"
}

if [ ! -s "$resume" ]; then
  save 00
  save 01
  save_slowly 02
fi
sha256sum --check --strict "$resume" >sums
path=$(head -n 1 "$resume" | cut -c 67-)
"$2" inspect "$path" >inspected
echo "life $((${SLURM_RESTART_COUNT:-0} + 1)) of job $SLURM_JOB_ID resumes from $path"
save 03
