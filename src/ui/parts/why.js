// Why a node or a container is in its state, at the moment that is shown: the chain of causes.
// @ts-check

/** @import { Actor, Kind, Why as Answer } from '../types.js' */

import { read, seg } from '../api.js';
import { html } from '../html.js';
import { actorName, groupOf } from '../pure/events.js';
import { to } from '../router.js';
import { past } from '../time.js';
import { Busy, Failure } from './bits.js';
import { Chain } from './chain.js';
import { useLoad, useSettled } from './hooks.js';

/** @param {{kind: Kind, id: string, stamp: number}} props  `stamp`: changes when the thing does */
export function Why({ kind, id, stamp }) {
  const seq = past.value?.seq ?? null;
  const settled = useSettled(seq ? 0 : stamp, 200);
  const { data, problem, busy } = useLoad(
    /** @returns {Promise<Answer>} */
    (abort) => read(`/why/${kind}/${seg(id)}`, { seq }, abort),
    [kind, id, seq, settled],
  );
  if (problem) {
    return html`<section class="panel">
      <${Failure} problem=${problem} what="the chain of causes (why)" />
    </section>`;
  }
  if (!data) return html`<${Busy}>Following the causes …<//>`;
  const items = data.steps.map((step) => {
    const actor = /** @type {Actor} */ (/** @type {unknown} */ (step.actor));
    return {
      seq: step.seq,
      at: step.at,
      group: groupOf({ kind: step.kind, actor }),
      says: step.says,
      note: `${step.kind}, ${actorName(actor)}`,
      children: html`<${Because} seqs=${step.because} />`,
    };
  });
  return html`<section class="panel why" aria-busy=${busy}>
    <div class="story">
      ${data.sentences.map((text, index) => html`<p key=${index}><${Linked} text=${text} /></p>`)}
    </div>
    <h2>Step by step <span class="faint">newest first</span></h2>
    <${Chain} items=${items} />
  </section>`;
}

/** @param {{seqs: number[]}} props */
function Because({ seqs }) {
  if (!seqs?.length) return null;
  const links = seqs.map(
    (seq, index) => html`
      ${index > 0 && ', '}
      <a key=${seq} href=${to(['events', String(seq)])}>#${seq}</a>
    `,
  );
  return html`<span class="because">caused by ${links}</span>`;
}

/**
 * A sentence in which `event 812` is a link to it.
 * @param {{text: string}} props
 */
function Linked({ text }) {
  return text.split(/(event \d+)/).map((part) => {
    const found = part.match(/^event (\d+)$/);
    return found ? html`<a key=${part} href=${to(['events', found[1]])}>${part}</a>` : part;
  });
}
