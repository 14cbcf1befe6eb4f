// Runs beside the page, in a thread of its own: hears each row and each event, and hands them over by the batch. In the page each
// message would be a task, and with a thousand of them a second the next frame waits in line behind them.

/** How long is gathered at least, in milliseconds. */
const GATHER_MS = 50;
/** So many rows that the page did not take: it reads the lists anew instead. */
const BACKLOG = 200_000;

let rows = [];
let events = [];
let seen = 0;
let heard = 0;
let socket = null;
let source = null;
let timer = null;
/** Whether the page has taken what it was handed last. */
let taken = true;

onmessage = ({ data: { follow: subscribe, unfollow, listen: address, taken: done } }) => {
  if (subscribe) follow(subscribe);
  if (unfollow) socket?.close();
  if (address) listen(address);
  if (done) {
    taken = true;
    gathered();
  }
};

/** Hands over what came, not sooner than the page asks for it. */
function gathered() {
  if (timer || !taken || (!rows.length && seen === heard)) return;
  postMessage({ rows, events, seen });
  [rows, events, heard, taken] = [[], [], seen, false];
  timer = setTimeout(() => {
    timer = null;
    gathered();
  }, GATHER_MS);
}

/** Rows, over the WebSocket: their changes from now on. The lists are read once all changes are told. */
function follow({ address, kinds }) {
  let waiting = kinds.length;
  if (socket) {
    socket.onclose = null; // one at a time
    socket.close();
  }
  socket = new WebSocket(address);
  socket.onopen = () => {
    for (const kind of kinds)
      socket.send(JSON.stringify({ name: `${kind} subscribe`, changes_only: true }));
  };
  socket.onmessage = ({ data }) => {
    if (
      waiting &&
      data.startsWith('{"name":"') &&
      data.startsWith(' subscribed"', data.indexOf(' '))
    ) {
      if (--waiting === 0) postMessage({ link: 'open' });
      return;
    }
    rows.push(data);
    if (rows.length > BACKLOG) socket.close();
    gathered();
  };
  socket.onclose = () => {
    rows = [];
    postMessage({ link: 'closed' });
  };
}

/** Events, as they happen. */
function listen(address) {
  source?.close();
  source = new EventSource(address);
  source.onmessage = ({ data, lastEventId }) => {
    seen = Number(lastEventId);
    // Probes are most of what happens, and change nothing that is shown.
    if (!data.includes('"kind":"NodeObserved"')) events.push(data);
    gathered();
  };
  source.onerror = () => {
    // The browser goes on by itself unless it was answered with an error.
    if (source.readyState !== EventSource.CLOSED) return;
    source.close();
    postMessage({ deaf: true });
  };
}
