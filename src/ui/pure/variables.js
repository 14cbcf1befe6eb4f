// Environment variables: read from the text that rows have, and masked where they look like
// secrets.
// @ts-check

const SECRET = /PASS|TOKEN|SECRET|KEY|CREDENTIAL|AUTH|PRIVATE|DSN/i;
export const MASK = '••••••••';

/**
 * Whether the value of a variable with this name must not be shown without being asked for.
 * @param {string} name
 */
export const isSecret = (name) => SECRET.test(name);

/**
 * `A=1,B=2`, as rows have it, as [[name, value]]. A comma in a value is escaped with a backslash.
 * @param {string | null | undefined} text
 * @returns {[string, string][]}
 */
export function variables(text) {
  /** @type {[string, string][]} */
  const found = [];
  const source = text ?? '';
  let current = '';
  const add = () => {
    const at = current.indexOf('=');
    if (current) found.push(at < 0 ? [current, ''] : [current.slice(0, at), current.slice(at + 1)]);
    current = '';
  };
  for (let i = 0; i < source.length; i++) {
    if (source[i] === '\\' && i + 1 < source.length) current += source[++i];
    else if (source[i] === ',') add();
    else current += source[i];
  }
  add();
  return found;
}

/**
 * The variables of a row as text, with secrets masked.
 * @param {string} text
 */
export const maskedVariables = (text, separator = ',') =>
  variables(text)
    .map(([name, value]) => `${name}=${isSecret(name) ? MASK : value}`)
    .join(separator);

/**
 * A copy of an event's data with the values of secret variables masked.
 * @param {any} value
 * @returns {any}
 */
export function masked(value, inEnvironment = false) {
  if (Array.isArray(value)) return value.map((item) => masked(item, inEnvironment));
  if (value === null || typeof value !== 'object') return value;
  const entries = Object.entries(value).map(([name, item]) => {
    if (inEnvironment && isSecret(name) && typeof item === 'string') return [name, MASK];
    if (name === 'env_variables' && typeof item === 'string') return [name, maskedVariables(item)];
    return [name, masked(item, name === 'env_variables')];
  });
  return Object.fromEntries(entries);
}
