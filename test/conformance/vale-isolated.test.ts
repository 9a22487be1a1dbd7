// The rows of vale.test.ts once more, every port in isolated mode: the answers must be the same.

process.env['NETMAP_ISOLATED'] = '1';
await import('./vale.test.ts');
export {};
