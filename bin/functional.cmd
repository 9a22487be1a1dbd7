@echo off
rem Runs functional from cmd and PowerShell, wherever it is called.
setlocal
set "main=%~dp0..\build\js\apps\functional\main.js"
if exist "%main%" goto run
echo functional: cannot start: "%main%" is not built; run "make" in "%~dp0.." 1>&2
exit /b 1
:run
node "%main%" %*
