@echo off
rem Runs nm-loader from cmd and PowerShell, wherever it is called.
setlocal
set "main=%~dp0..\build\js\apps\nm-loader\main.js"
if exist "%main%" goto run
echo nm-loader: cannot start: "%main%" is not built; run "make" in "%~dp0.." 1>&2
exit /b 1
:run
node "%main%" %*
