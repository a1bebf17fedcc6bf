#!/bin/sh
# Makes .venv from the locks. Usage: requirements/install.sh
#   PYTHON       the interpreter to start from (default python3; 3.11 to 3.13)
#   TORCH_INDEX  an index to take torch from, such as PyTorch's CPU or CUDA one; default: pip's own
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || {
  echo "Coronet needs Python 3.11, 3.12 or 3.13; $python is $("$python" --version 2>&1). Set PYTHON=…" >&2
  exit 2
}
[ ! -L .venv ] || {
  echo ".venv is a link, so it belongs to another folder, and nothing is installed. Remove the link, or run the command" \
    "itself (for make's targets see the Makefile)." >&2
  exit 2
}
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null
pip() { .venv/bin/python -m pip --quiet --disable-pip-version-check "$@" 2>>.venv/install.log; }
uv() { VIRTUAL_ENV=$PWD/.venv .venv/bin/uv --quiet pip "$@" 2>>.venv/install.log; }
echo "Installing $(grep -c == requirements/lock.txt) locked packages into .venv (1 to 3 minutes, 2.3 GB) …"
# uv installs the lock in a tenth of pip's time; pip stands in where uv cannot reach its index.
{ pip install -r requirements/uv.txt --require-hashes &&
  uv install --no-deps --require-hashes --compile-bytecode -r requirements/lock.txt; } ||
  pip install --no-deps --require-hashes -r requirements/lock.txt || { tail -5 .venv/install.log >&2; exit 2; }
pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} -r requirements/torch.txt || { tail -5 .venv/install.log >&2; exit 2; }
pip install --no-deps --no-build-isolation -e . || { tail -5 .venv/install.log >&2; exit 2; }
touch .venv/.installed
echo "Installed. Next: source .venv/bin/activate; coronet --help; make demo (about 20 minutes) or coronet data import SCAN…"
