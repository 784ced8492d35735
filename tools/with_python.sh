#!/bin/sh
# with_python.sh PYTHON SCRIPT [ARGUMENT ...]: run SCRIPT with PYTHON, or with the first suitable
# Python found where PYTHON is empty (3.11 to 3.13 preferred, newer ones untested).
wanted=$1
shift

fits() { "$1" -c "import sys; sys.exit(not ($2))" >/dev/null 2>&1; }

if [ -n "$wanted" ]; then
    fits "$wanted" "sys.version_info >= (3, 11)" && exec "$wanted" "$@"
    echo "error: PYTHON=$wanted is not a Python 3.11 or newer." >&2
    exit 1
fi
for range in "(3, 11) <= sys.version_info < (3, 14)" "sys.version_info >= (3, 14)"; do
    for python in python3 python3.13 python3.12 python3.11 python; do
        fits "$python" "$range" && exec "$python" "$@"
    done
done
echo "error: no Python 3.11 or newer found on PATH; install one or name it: make env PYTHON=/path/to/python3" >&2
exit 1
