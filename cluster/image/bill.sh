#!/bin/bash
# bill.sh FILE: the image's bill of materials (CycloneDX, JSON) from what is installed in /opt/venv.
set -euo pipefail
cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible \
  --output-format JSON --output-file "$1" /opt/venv/bin/python
