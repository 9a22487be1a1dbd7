@echo off
rem Runs pkt-gen-b from cmd and PowerShell, wherever it is called.
setlocal
set "main=%~dp0..\build\js\apps\pkt-gen\main-b.js"
if exist "%main%" goto run
echo pkt-gen-b: cannot start: "%main%" is not built; run "make" in "%~dp0.." 1>&2
exit /b 1
:run
node "%main%" %*
