// Preloaded (node --import) into programs that are to find the fake driver and its interfaces where the system's would be,
// on any system: three modules are exchanged for others when they are loaded, nothing else is different.

import { register } from 'node:module';

register('./substitutes.js', import.meta.url);
