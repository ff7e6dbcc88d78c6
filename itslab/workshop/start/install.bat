@echo off
rem Installs itslab without a network, from this folder into .venv beside this file.
setlocal
cd /d "%~dp0"

set "PYTHON="
for %%V in (@PYTHONS@) do if not defined PYTHON py -%%V -c "" >nul 2>nul && set "PYTHON=py -%%V"
if not defined PYTHON (
  python -c "import sys; sys.exit('{}.{}'.format(*sys.version_info) not in sys.argv[1:])" @PYTHONS@ >nul 2>nul && set "PYTHON=python"
)
if not defined PYTHON (
  echo None of the Pythons that this folder is for is here: @PYTHONS@.
  goto failed
)
for %%W in (wheels\pip-*.whl) do set "PIP=%%W\pip"

echo Installing with %PYTHON%, which takes a few minutes ...
%PYTHON% -m venv --clear --without-pip .venv || goto failed
set "INSTALL=.venv\Scripts\python %PIP% --isolated install -q --no-compile --no-index --find-links wheels"
%INSTALL% pip itslab || goto failed
rem On all cores; pip takes one. What cannot be compiled is not needed.
.venv\Scripts\python -m compileall -q -j 0 .venv\Lib >nul 2>nul

if exist models (
  %INSTALL% itslab[llama] || echo llama.cpp is not in this folder for this system: see README.txt.
  for /f "delims=" %%H in ('.venv\Scripts\python -c "from itslab.models import home; print(home())"') do xcopy /e /i /q /y models "%%H\models" || goto failed
)

echo Done. To begin: %CD%\.venv\Scripts\itslab workshop
pause
exit /b 0

:failed
echo itslab is not installed.
pause
exit /b 1
