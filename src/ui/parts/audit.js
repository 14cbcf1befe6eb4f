// The integrity of the log: checked on demand.
// @ts-check

/** @import { Audit as Report } from '../types.js' */

import { Problem, read } from '../api.js';
import { html, signal } from '../html.js';
import { clock, number } from '../pure/format.js';
import { Busy, Failure } from './bits.js';

/** The last check, which stays while other views are open. */
const audit = signal(
  /** @type {{busy?: boolean, problem?: Problem, report?: Report, at?: number}} */ ({}),
);

async function verify() {
  audit.value = { busy: true };
  try {
    audit.value = { report: await read('/audit/verify'), at: Date.now() };
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    audit.value = { problem };
  }
}

export function Audit() {
  const { busy, problem, report, at } = audit.value;
  return html`<section class="panel audit" aria-label="Audit">
    <div aria-live="polite">
      ${
        !busy &&
        !problem &&
        !report &&
        html`<p>The log is tamper-evident. Check that nothing was changed.</p>`
      }
      ${busy && html`<${Busy}>Checking every event …<//>`}
      ${problem && html`<${Failure} problem=${problem} what="the audit of the log" />`}
      ${report && html`<${Result} report=${report} at=${at} />`}
    </div>
    <button type="button" disabled=${busy} onClick=${verify}>Verify the log</button>
  </section>`;
}

/** @param {{report: Report, at: number}} props */
function Result({ report, at }) {
  const { ok, head, first_bad: bad } = report;
  if (!ok) {
    const where = bad && `commit ${bad.commit}, events ${bad.first_seq} to ${bad.last_seq}`;
    return html`<p class="is-bad" role="alert">
      ✗ The log was changed: ${where ? `${where}: ${bad.detail}` : report.detail}
    </p>`;
  }
  const sizes = `${number(report.events)} events in ${number(report.commits)} commits`;
  return html`
    <p class="is-good">
      ✓ The log is intact: ${sizes}, verified up to event ${head.seq} at ${clock(at)}.
    </p>
    <p class="digest">head <code>${head.seq}:${head.root}</code></p>
  `;
}
