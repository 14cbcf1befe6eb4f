//! The load generator: a minimal HTTP/1.1 client on persistent connections, so that its own cost stays small relative to
//! the server's.

use serde_json::Value;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The read timeout, after which the bench fails.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// A persistent connection.
pub(crate) struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    buffer: Vec<u8>,
}

/// A response.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Answer<'_> {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON, or `null` when it is not JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(self.body).unwrap_or_default()
    }
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        Ok(Self { stream, address, buffer: Vec::new() })
    }

    /// Sends a request and reads the whole response.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &str) -> io::Result<Answer<'_>> {
        self.stream.write_all(text(self.address, method, path, body).as_bytes())?;
        self.buffer.clear();
        let head_end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            self.fill()?;
        };
        let head = Head::read(&self.buffer[..head_end])?;
        let body = match head.length {
            Length::Known(length) => {
                while self.buffer.len() < head_end + length {
                    self.fill()?;
                }
                head_end..head_end + length
            }
            Length::Chunked => self.read_chunks(head_end)?,
        };
        Ok(Answer { status: head.status, body: &self.buffer[body] })
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut piece = [0; 4 * 1024];
        match self.stream.read(&mut piece)? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
            length => {
                self.buffer.extend_from_slice(&piece[..length]);
                Ok(())
            }
        }
    }

    /// Reads the chunks that begin at `start` and joins them there; returns the range of the joined body.
    fn read_chunks(&mut self, start: usize) -> io::Result<std::ops::Range<usize>> {
        let (mut whole, mut at) = (Vec::new(), start);
        loop {
            let line_end = loop {
                match find(&self.buffer[at..], b"\r\n") {
                    Some(end) => break at + end,
                    None => self.fill()?,
                }
            };
            let size = std::str::from_utf8(&self.buffer[at..line_end]).unwrap_or_default();
            let size = usize::from_str_radix(size.trim(), 16).map_err(|_| malformed("a chunk's size"))?;
            let from = line_end + 2;
            while self.buffer.len() < from + size + 2 {
                self.fill()?;
            }
            if size == 0 {
                self.buffer.truncate(start);
                self.buffer.extend_from_slice(&whole);
                return Ok(start..self.buffer.len());
            }
            whole.extend_from_slice(&self.buffer[from..from + size]);
            at = from + size + 2;
        }
    }
}

fn text(address: SocketAddr, method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

enum Length {
    Known(usize),
    Chunked,
}

struct Head {
    status: u16,
    length: Length,
}

impl Head {
    fn read(text: &[u8]) -> io::Result<Self> {
        let text = std::str::from_utf8(text).map_err(|_| malformed("the head"))?;
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| malformed("the status line"))?;
        let field = |name: &str| {
            text.lines().skip(1).find_map(|line| {
                let (found, value) = line.split_once(':')?;
                found.eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        let length = match field("content-length") {
            Some(length) => Length::Known(length.parse().map_err(|_| malformed("content-length"))?),
            None if field("transfer-encoding").is_some() => Length::Chunked,
            None => Length::Known(0),
        };
        Ok(Self { status, length })
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer is malformed: {what}"))
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// A POST request of a load.
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) body: String,
}

/// Sends POST requests one after another for `warm_up` and then for `measured`; returns the latencies of the latter. The
/// client blocks in the read itself: the time that a runtime takes to wake a task is not the server's.
pub(crate) fn post_one_after_another(
    address: SocketAddr,
    (warm_up, measured): (Duration, Duration),
    request: impl Fn(usize, usize) -> Request,
) -> Vec<Duration> {
    let mut connection = Connection::open(address).expect("the server accepts connections");
    let began = Instant::now();
    let mut latencies = Vec::new();
    for number in 0.. {
        let Request { path, body } = request(0, number);
        let sent = Instant::now();
        if sent - began >= warm_up + measured {
            break;
        }
        let answer = connection.ask("POST", &path, &body).expect("an answer");
        assert!(answer.is_success(), "{path}: {}", String::from_utf8_lossy(answer.body));
        if sent - began >= warm_up {
            latencies.push(sent.elapsed());
        }
    }
    latencies
}

/// Sends POST requests from `clients` concurrent clients, each one after another, for `warm_up` and then for `measured`;
/// returns the rate per second of the latter. `request` makes the n-th request of a client. All clients share one thread,
/// to leave the processor to the server.
pub(crate) fn post_as_fast_as_answered(
    address: SocketAddr,
    clients: usize,
    (warm_up, measured): (Duration, Duration),
    request: impl Fn(usize, usize) -> Request,
) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let answered: Vec<u32> = runtime.block_on(async {
        let connections = (0..clients).map(|_| Client::open(address));
        let connections = futures_util::future::join_all(connections).await;
        let began = Instant::now();
        let request = &request;
        let all = connections.into_iter().enumerate().map(async |(client, mut connection)| {
            let mut answered = 0;
            for number in 0.. {
                if began.elapsed() >= warm_up + measured {
                    break;
                }
                connection.post(&request(client, number)).await;
                answered += u32::from((warm_up..warm_up + measured).contains(&began.elapsed()));
            }
            answered
        });
        futures_util::future::join_all(all).await
    });
    f64::from(answered.into_iter().sum::<u32>()) / measured.as_secs_f64()
}

/// An asynchronous client, of which many share a thread.
struct Client {
    stream: tokio::net::TcpStream,
    address: SocketAddr,
    buffer: Vec<u8>,
}

impl Client {
    async fn open(address: SocketAddr) -> Self {
        let stream = tokio::net::TcpStream::connect(address).await.expect("the server accepts connections");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, address, buffer: Vec::new() }
    }

    /// Sends a request and reads the response, which must be a success with a `Content-Length`.
    async fn post(&mut self, Request { path, body }: &Request) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let request = text(self.address, "POST", path, body);
        self.stream.write_all(request.as_bytes()).await.expect("the server reads");
        self.buffer.clear();
        let mut whole = None;
        while whole.is_none_or(|whole| self.buffer.len() < whole) {
            self.buffer.reserve(4 * 1024);
            let read = self.stream.read_buf(&mut self.buffer).await.expect("the server answers");
            assert!(read > 0, "the server closed the connection");
            if whole.is_none()
                && let Some(end) = find(&self.buffer, b"\r\n\r\n")
            {
                let head = Head::read(&self.buffer[..end]).expect("an answer");
                assert!(
                    (200..300).contains(&head.status),
                    "{path}: {}",
                    String::from_utf8_lossy(&self.buffer)
                );
                let Length::Known(length) = head.length else {
                    panic!("{path}: the response has no content-length")
                };
                whole = Some(end + 4 + length);
            }
        }
    }
}

/// Sends GET requests for `path(client, number)` from each of `clients` clients once every `interval` for `duration`;
/// returns the latencies. The load is open: the latency of a request that waited for the response before it counts from
/// the moment at which the request was due.
pub(crate) fn get_at_intervals(
    address: SocketAddr,
    clients: u32,
    interval: Duration,
    duration: Duration,
    path: impl Fn(u32, u32) -> String + Sync,
) -> Vec<Duration> {
    let one = |client: u32| -> Vec<Duration> {
        let mut connection = Connection::open(address).expect("the server accepts connections");
        let began = Instant::now() + interval * client / clients;
        let mut latencies = Vec::new();
        for number in 0.. {
            let due = began + interval * number;
            if due - began >= duration {
                break;
            }
            let path = path(client, number);
            let pause = due.saturating_duration_since(Instant::now());
            let is_late = pause.is_zero();
            std::thread::sleep(pause);
            // A late wake-up of this thread is not the server's latency.
            let from = if is_late { due } else { Instant::now() };
            let answer = connection.ask("GET", &path, "").expect("an answer");
            assert!(answer.is_success(), "{path}: {}", answer.status);
            latencies.push(from.elapsed());
        }
        latencies
    };
    std::thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = (0..clients).map(|client| scope.spawn(move || one(client))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a client")).collect()
    })
}
