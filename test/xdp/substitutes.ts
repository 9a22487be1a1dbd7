// Node's hook by which substitute.ts exchanges modules.

interface Resolved {
  url: string;
}
type Next = (specifier: string, context: unknown) => Promise<Resolved>;

const SUBSTITUTES: Readonly<Record<string, string>> = {
  'src/nic/linux/index.js': 'src/nic/windows/xdp.js',
  'src/os/linux/interfaces.js': 'test/xdp/fake-interfaces.js',
  'src/os/windows/interfaces.js': 'test/xdp/fake-interfaces.js',
  'src/os/windows/xdp-driver.js': 'test/xdp/fake-driver.js',
};

export async function resolve(specifier: string, context: unknown, next: Next): Promise<Resolved> {
  const resolved = await next(specifier, context);
  for (const [file, substitute] of Object.entries(SUBSTITUTES))
    if (resolved.url.endsWith(`/build/js/${file}`))
      return { ...resolved, url: resolved.url.replace(file, substitute) };
  return resolved;
}
