// Runs in a thread of its own: receives each row and each event, and hands them to the page in
// batches. In the page each message would be a task, and with a thousand of them a second the next
// frame would wait for them.
// @ts-check

/** How long messages are gathered at least, in milliseconds. */
const GATHER_MS = 50;
/** With more rows than this that the page did not take, it reads the lists again instead. */
const BACKLOG = 200_000;

/** @type {string[]} */
let rows = [];
/** @type {string[]} */
let events = [];
let seen = 0;
let handed = 0;
/** @type {WebSocket | null} */
let socket = null;
/** @type {EventSource | null} */
let source = null;
/** @type {ReturnType<typeof setTimeout> | null} */
let timer = null;
/** Whether the page has applied the last batch. */
let taken = true;

onmessage = ({ data: { follow: subscription, unfollow, listen: address, taken: done } }) => {
  if (subscription) follow(subscription);
  if (unfollow) socket?.close();
  if (address) listen(address);
  if (done) {
    taken = true;
    handOver();
  }
};

/** Hands over what was received, not sooner than the page can take it. */
function handOver() {
  if (timer || !taken || (!rows.length && seen === handed)) return;
  postMessage({ rows, events, seen });
  [rows, events, handed, taken] = [[], [], seen, false];
  timer = setTimeout(() => {
    timer = null;
    handOver();
  }, GATHER_MS);
}

/**
 * Subscribes to the changes of rows over the WebSocket, and reports when all subscriptions are
 * confirmed.
 * @param {{address: string, kinds: string[]}} subscription
 */
function follow({ address, kinds }) {
  let waiting = kinds.length;
  if (socket) {
    socket.onclose = null; // one at a time
    socket.close();
  }
  const opened = new WebSocket(address);
  socket = opened;
  opened.onopen = () => {
    for (const kind of kinds) {
      opened.send(JSON.stringify({ name: `${kind} subscribe`, changes_only: true }));
    }
  };
  opened.onmessage = ({ data }) => {
    if (waiting && isConfirmation(data)) {
      if (--waiting === 0) postMessage({ link: 'open' });
      return;
    }
    rows.push(data);
    if (rows.length > BACKLOG) opened.close();
    handOver();
  };
  opened.onclose = () => {
    rows = [];
    postMessage({ link: 'closed' });
  };
}

/**
 * Whether a message confirms a subscription: `{"name":"nodes subscribed"}`.
 * @param {string} text
 */
const isConfirmation = (text) =>
  text.startsWith('{"name":"') && text.startsWith(' subscribed"', text.indexOf(' '));

/**
 * Subscribes to events.
 * @param {string} address
 */
function listen(address) {
  source?.close();
  const opened = new EventSource(address);
  source = opened;
  opened.onmessage = ({ data, lastEventId }) => {
    seen = Number(lastEventId);
    // Probes are most of all events, and change nothing that is shown.
    if (!data.includes('"kind":"NodeObserved"')) events.push(data);
    handOver();
  };
  opened.onerror = () => {
    // The browser reconnects by itself unless it was answered with an error.
    if (opened.readyState !== EventSource.CLOSED) return;
    opened.close();
    postMessage({ deaf: true });
  };
}
