// Commands of health checks: a line for a shell, or a list in the form of Docker's API.
// @ts-check

/**
 * A list that a text holds as JSON; null if it is something else, such as a line for a shell.
 * @param {string} text
 * @returns {unknown[] | null}
 */
export function listOf(text) {
  if (!text.startsWith('[')) return null;
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * The command of a row as it is shown and edited: a line for the shell without more, any other
 * command as its list.
 * @param {string[]} command in the form of Docker's API
 */
export function commandText(command) {
  const [form, line] = command;
  const isPlain =
    form === 'CMD-SHELL' && line.trim() === line && !/[\r\n]/.test(line) && !listOf(line);
  return isPlain ? line : JSON.stringify(command);
}
