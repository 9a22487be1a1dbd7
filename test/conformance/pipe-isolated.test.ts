// The rows of pipe.test.ts once more, every port in isolated mode: the answers must be the same.

process.env['NETMAP_ISOLATED'] = '1';
await import('./pipe.test.ts');
export {};
