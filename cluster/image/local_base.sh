#!/bin/bash
# local_base.sh TAG: a base for cluster/Dockerfile from Debian's packages, where no registry of images is reachable.
# Needs root, debootstrap and podman. DEBIAN_MIRROR: another mirror than debootstrap's.
set -euo pipefail
tag=${1:?local_base.sh: give the tag of the image to make}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$root" \
  ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} > "$root.log" 2>&1 || { tail "$root.log" >&2; exit 1; }
rm -rf "$root.log" "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,locale,man}/*
tar -C "$root" -c . | podman import --quiet --change 'CMD ["bash"]' - "$tag"
