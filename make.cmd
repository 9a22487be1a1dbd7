@echo off
rem The Makefile's targets that Windows has: make [build | demo | test | clean].
setlocal
cd /d "%~dp0"
set "target=%~1"
if "%target%"=="" set "target=build"
if "%target%"=="clean" goto clean
for %%t in (build demo test) do if "%target%"=="%%t" goto build
echo make: cannot make "%target%": expected one of build, demo, test, clean 1>&2
exit /b 1

:build
if not exist node_modules\.package-lock.json call npm ci --ignore-scripts --no-audit --no-fund || exit /b 1
if not exist build mkdir build
call npx --no-install asc assembly/index.ts -o build/dataplane.wasm --runtime stub --importMemory --sharedMemory --initialMemory 65536 --maximumMemory 65536 --enable simd --enable threads --exportTable -O3 --noAssert || exit /b 1
if not exist build\lookup mkdir build\lookup
for %%f in (examples\lookup\wasm\*.ts) do if not "%%~nf"=="config" call npx --no-install asc %%f -o build/lookup/%%~nf.wasm --runtime stub -O3 --noAssert || exit /b 1
if exist build\js rmdir /s /q build\js
call npx --no-install tsc -p tsconfig.json || exit /b 1
node build\js\scripts\header.js build\include\netmap_abi.h || exit /b 1
if "%target%"=="build" exit /b 0
if "%target%"=="demo" node build\js\scripts\demo.js
if "%target%"=="test" node build\js\scripts\test-windows.js
exit /b %errorlevel%

:clean
if exist build rmdir /s /q build
