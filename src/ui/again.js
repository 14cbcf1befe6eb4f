// Reloads the page when one of its scripts could not be loaded: a network change at that moment
// would leave it blank permanently. A classic script, because it has to run before the modules.
// @ts-check

const AGAIN_MS = 1000;

document.addEventListener(
  'error',
  ({ target }) => {
    if (target instanceof HTMLScriptElement) setTimeout(() => location.reload(), AGAIN_MS);
  },
  true, // resource errors do not bubble; the capture phase sees them
);
