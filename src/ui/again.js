// Loads the page again when a part of it could not be loaded: a network that changes just then would leave it blank for ever.
// No module, for it has to be there before them.

const AGAIN_MS = 1000;

document.addEventListener(
  'error',
  ({ target }) => {
    if (target.tagName === 'SCRIPT') setTimeout(() => location.reload(), AGAIN_MS);
  },
  true,
); // what could not be loaded is told to those above it in this phase alone
