#!/bin/sh
# Installs itslab without a network, from this folder into .venv beside this file: sh install.sh
set -eu
cd "$(dirname "$0")"
give_up() { echo "$1"; exit 1; }

echo "Checking the files ..."
if command -v sha256sum >/dev/null; then
  sha256sum -c SHA256SUMS >/dev/null || give_up "This copy is damaged: copy the folder anew."
elif command -v shasum >/dev/null; then
  shasum -a 256 -c SHA256SUMS >/dev/null || give_up "This copy is damaged: copy the folder anew."
fi

python=
for name in @COMMANDS@ python3 python; do
  if "$name" -c 'import sys; sys.exit("{}.{}".format(*sys.version_info) not in sys.argv[1:])' \
    @PYTHONS@ 2>/dev/null; then
    python=$name
    break
  fi
done
[ "$python" ] || give_up "None of the Pythons that this folder is for is here: @PYTHONS@."

echo "Installing with $python, which takes a minute or two ..."
"$python" -m venv --clear --without-pip .venv
for pip in wheels/pip-*.whl; do :; done
install() {
  .venv/bin/python "$pip/pip" --isolated install -q --no-compile --no-index --find-links wheels "$@"
}
install pip itslab
# On all cores; pip takes one. What cannot be compiled is not needed.
.venv/bin/python -m compileall -q -j 0 .venv/lib >/dev/null 2>&1 || true

if [ -d models ]; then
  install 'itslab[llama]' || echo "llama.cpp is not in this folder for this system: see README.txt."
  home=$(.venv/bin/python -c 'from itslab.models import home; print(home())')
  mkdir -p "$home/models"
  cp -R models/. "$home/models/"
fi

echo "Done. To begin: $PWD/.venv/bin/itslab workshop"
