@echo off
rem Runs nm-ctl from cmd and PowerShell, wherever it is called.
setlocal
set "main=%~dp0..\build\js\apps\nm-ctl\main.js"
if exist "%main%" goto run
echo nm-ctl: cannot start: "%main%" is not built; run "make" in "%~dp0.." 1>&2
exit /b 1
:run
node "%main%" %*
