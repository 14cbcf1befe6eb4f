//! A double of a RethinkDB server, with faults that a real one cannot be made to show. It understands the
//! ReQL that the store needs to open a log and to append to it.

use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const JSON: u64 = 98;
const TABLE: u64 = 15;
const GET: u64 = 16;
const PLUCK: u64 = 33;
const LIMIT: u64 = 71;
const BETWEEN: u64 = 182;
const INSERT: u64 = 56;
const DB_LIST: u64 = 59;
const TABLE_LIST: u64 = 62;
const INDEX_LIST: u64 = 77;
const GET_ALL: u64 = 78;
const STATUS: u64 = 175;

const ATOM: u64 = 1;
const SEQUENCE: u64 = 2;
const RUNTIME_ERROR: u64 = 18;
const INDETERMINATE: u64 = 4_200_000;
const FAILED: u64 = 4_100_000;

/// The fate of an insert into the log.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// Carried out; the answer comes after this delay.
    LateAnswer(Duration),
    /// Carried out; no answer comes, and the connection stays open.
    NoAnswer,
    /// Carried out; the connection is cut after this many bytes of the answer.
    CutAnswer(usize),
    /// The connection is cut before it is carried out.
    CutRequest,
    /// Carried out, but the server reports an unknown outcome.
    IndeterminateDone,
    /// Not carried out, and the server reports an unknown outcome.
    IndeterminateNotDone,
    /// The server reports that it was not carried out.
    Failed,
    /// No answer comes; carried out after this delay.
    DoneLater(Duration),
}

#[derive(Default)]
struct Inner {
    commits: BTreeMap<u64, Value>,
    faults: VecDeque<Fault>,
    /// Delays of other answers.
    lateness: VecDeque<Duration>,
    inserts: usize,
    /// Number of inserts to be carried out later.
    later: usize,
    down: bool,
}

/// The double. Stops when dropped.
pub(crate) struct Double {
    pub(crate) address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    listening: JoinHandle<()>,
}

/// How the bytes of a login are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Login {
    Whole,
    SingleBytes,
}

impl Double {
    pub(crate) async fn start(login: Login) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::<Mutex<Inner>>::default();
        let shared = Arc::clone(&inner);
        let listening = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, login, Arc::clone(&shared)));
            }
        });
        Self { address, inner, listening }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Sets the fate of the next inserts.
    pub(crate) fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults.extend(faults);
    }

    /// Lets inserts succeed from now on.
    pub(crate) fn forget_faults(&self) {
        self.lock().faults.clear();
    }

    /// Delays the answers to the next other queries.
    pub(crate) fn delay_next(&self, delays: impl IntoIterator<Item = Duration>) {
        self.lock().lateness.extend(delays);
    }

    /// Sets whether it cuts every connection at once.
    pub(crate) fn set_down(&self, down: bool) {
        self.lock().down = down;
    }

    /// The id of each commit in the log.
    pub(crate) fn commits(&self) -> Vec<String> {
        let inner = self.lock();
        assert!(inner.commits.keys().copied().eq(1..=inner.commits.len() as u64), "the log is dense");
        inner.commits.values().map(|commit| commit["commit_id"].as_str().unwrap().to_owned()).collect()
    }

    /// Number of inserts still to be carried out.
    pub(crate) fn later(&self) -> usize {
        self.lock().later
    }

    /// Number of inserts into the log that were requested.
    pub(crate) fn inserts(&self) -> usize {
        self.lock().inserts
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn read_until_null(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut text = Vec::new();
    loop {
        match stream.read_u8().await? {
            0 => return Ok(String::from_utf8(text).unwrap()),
            byte => text.push(byte),
        }
    }
}

async fn say(stream: &mut TcpStream, login: Login, message: Value) -> std::io::Result<()> {
    let bytes = [message.to_string().as_bytes(), b"\0"].concat();
    match login {
        Login::Whole => stream.write_all(&bytes).await,
        Login::SingleBytes => {
            for byte in bytes {
                stream.write_all(&[byte]).await?;
                // As slow as a bad line: each byte is sent before the next is written.
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
            Ok(())
        }
    }
}

/// Accepts `admin` without a password.
struct Users;

impl scram::AuthenticationProvider for Users {
    fn get_password_for(&self, user: &str) -> Option<scram::PasswordInfo> {
        let salt = b"0123456789abcdef";
        let hashed = scram::hash_password("", NonZeroU32::new(64)?, salt);
        (user == "admin").then(|| scram::PasswordInfo::new(hashed.to_vec(), 64, salt.to_vec()))
    }
}

async fn log_in(stream: &mut TcpStream, login: Login) -> std::io::Result<()> {
    stream.read_u32_le().await?;
    let hello = json!({"success": true, "min_protocol_version": 0, "max_protocol_version": 0, "server_version": "2.4.4"});
    say(stream, login, hello).await?;
    let first: Value = serde_json::from_str(&read_until_null(stream).await?).unwrap();
    let (next, challenge) = {
        let server = scram::ScramServer::new(Users);
        let first = first["authentication"].as_str().unwrap().to_owned();
        // The server's state borrows all of this: a login is short and the test ends.
        let server: &'static _ = Box::leak(Box::new(server));
        let first: &'static str = Box::leak(first.into_boxed_str());
        server.handle_client_first(first).unwrap().server_first()
    };
    say(stream, login, json!({"success": true, "authentication": challenge})).await?;
    let last: Value = serde_json::from_str(&read_until_null(stream).await?).unwrap();
    let (_, proof) = {
        let last = last["authentication"].as_str().unwrap();
        next.handle_client_final(last).unwrap().server_final()
    };
    say(stream, login, json!({"success": true, "authentication": proof})).await
}

async fn serve(mut stream: TcpStream, login: Login, inner: Arc<Mutex<Inner>>) {
    // A client that goes away is not an error here.
    let _ = converse(&mut stream, login, &inner).await;
}

async fn converse(stream: &mut TcpStream, login: Login, inner: &Arc<Mutex<Inner>>) -> std::io::Result<()> {
    if inner.lock().unwrap().down {
        return Ok(());
    }
    log_in(stream, login).await?;
    loop {
        let token = stream.read_u64_le().await?;
        let length = stream.read_u32_le().await?;
        let mut body = vec![0; length as usize];
        stream.read_exact(&mut body).await?;
        if inner.lock().unwrap().down {
            return Ok(());
        }
        let query: Value = serde_json::from_slice(&body).unwrap();
        let term = query[1].clone();
        let mut answer = |kind: u64, error: Option<u64>, result: Value| {
            let result = if kind == SEQUENCE { result } else { json!([result]) };
            let body = json!({"t": kind, "r": result, "e": error}).to_string();
            let mut bytes = token.to_le_bytes().to_vec();
            bytes.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
            bytes.extend(body.as_bytes());
            bytes
        };
        if let Some(commit) = inserted(&term) {
            let fault = {
                let mut inner = inner.lock().unwrap();
                inner.inserts += 1;
                inner.faults.pop_front()
            };
            let done = || insert(inner, commit.clone());
            let unknown = |answer: &mut dyn FnMut(u64, Option<u64>, Value) -> Vec<u8>| {
                answer(RUNTIME_ERROR, Some(INDETERMINATE), json!("the primary went away"))
            };
            let bytes = match fault {
                None => answer(ATOM, None, done()),
                Some(Fault::LateAnswer(delay)) => {
                    let result = done();
                    tokio::time::sleep(delay).await;
                    answer(ATOM, None, result)
                }
                Some(Fault::NoAnswer) => {
                    done();
                    continue;
                }
                Some(Fault::CutAnswer(count)) => {
                    let bytes = answer(ATOM, None, done());
                    stream.write_all(&bytes[..count.min(bytes.len() - 1)]).await?;
                    return Ok(());
                }
                Some(Fault::CutRequest) => return Ok(()),
                Some(Fault::IndeterminateDone) => {
                    done();
                    unknown(&mut answer)
                }
                Some(Fault::IndeterminateNotDone) => unknown(&mut answer),
                Some(Fault::Failed) => answer(RUNTIME_ERROR, Some(FAILED), json!("no primary")),
                Some(Fault::DoneLater(delay)) => {
                    inner.lock().unwrap().later += 1;
                    let inner = Arc::clone(inner);
                    tokio::spawn(async move {
                        tokio::time::sleep(delay).await;
                        insert(&inner, commit);
                        inner.lock().unwrap().later -= 1;
                    });
                    continue;
                }
            };
            stream.write_all(&bytes).await?;
            continue;
        }
        let late = inner.lock().unwrap().lateness.pop_front();
        tokio::time::sleep(late.unwrap_or_default()).await;
        let result = look(&inner.lock().unwrap(), &term);
        let kind = if is(&term, PLUCK) || is(&term, LIMIT) { SEQUENCE } else { ATOM };
        stream.write_all(&answer(kind, None, result)).await?;
    }
}

fn insert(inner: &Mutex<Inner>, commit: Value) -> Value {
    let number = commit["id"].as_u64().unwrap();
    let mut inner = inner.lock().unwrap();
    if inner.commits.contains_key(&number) {
        return json!({"inserted": 0, "errors": 1, "first_error": format!("Duplicate primary key `id`: {number}")});
    }
    inner.commits.insert(number, commit);
    json!({"inserted": 1, "errors": 0})
}

fn is(term: &Value, kind: u64) -> bool {
    term[0] == kind
}

fn is_events(term: &Value) -> bool {
    is(term, TABLE) && term[1][0] == "events"
}

/// The commit, if a term inserts one.
fn inserted(term: &Value) -> Option<Value> {
    if !is(term, INSERT) || !is_events(&term[1][0]) {
        return None;
    }
    let json = find_text(&term[1][1])?;
    Some(serde_json::from_str(json).unwrap())
}

/// The text inside `r.json`.
fn find_text(term: &Value) -> Option<&str> {
    if is(term, JSON) { term[1][0].as_str() } else { None }
}

/// The answer to a query that changes nothing.
fn look(inner: &Inner, term: &Value) -> Value {
    let kind = term[0].as_u64().unwrap_or_else(|| panic!("no term: {term}"));
    match kind {
        DB_LIST => json!(["kdaemon"]),
        TABLE_LIST => json!(["events", "meta", "snapshots", "nodes", "applications", "containers"]),
        INDEX_LIST => json!(["idempotency_at", "kinds"]),
        STATUS => json!({"status": {"ready_for_writes": true}, "shards": [{"replicas": ["double"]}]}),
        GET if term[1][1] == "layout" => json!({"id": "layout", "version": 2}),
        INSERT => json!({"errors": 1, "first_error": "Duplicate primary key `id`"}),
        GET_ALL => json!([]),
        PLUCK | LIMIT => look(inner, &term[1][0]),
        BETWEEN if is_events(&term[1][0]) => {
            let (from, until) = (term[1][1].as_u64().unwrap(), term[1][2].as_u64().unwrap());
            inner.commits.range(from..until).map(|(_, commit)| commit.clone()).collect()
        }
        _ => panic!("the double does not know {term}"),
    }
}
