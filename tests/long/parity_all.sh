#!/bin/bash
# Every architecture beside its PyTorch twin (tests/e2e/parity_torch.sh with all its cases).
cd "$(dirname "$0")/../.." || exit 2
PARITY_ALL=1 exec bash tests/e2e/parity_torch.sh
