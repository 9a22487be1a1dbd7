@echo off
rem Runs nm-dump from cmd and PowerShell, wherever it is called.
setlocal
set "main=%~dp0..\build\js\apps\nm-dump\main.js"
if exist "%main%" goto run
echo nm-dump: cannot start: "%main%" is not built; run "make" in "%~dp0.." 1>&2
exit /b 1
:run
node "%main%" %*
