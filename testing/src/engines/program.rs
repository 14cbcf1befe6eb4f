//! The process of a simulated container: a small part of busybox, compiled to steps in time.
//!
//! Everything depends on the spec alone, so a script is run once, when the container starts, and from then on
//! its output and its exit are known.

use bytes::Bytes;
use kdaemon::engine::Exit;
use kdaemon_events::Spec;
use std::collections::BTreeMap;

/// Never.
const FOREVER: u64 = u64::MAX;
/// Limit on the steps that one script compiles to.
const MAX_STEPS: usize = 10_000;
/// Programs that are in every image. Programs that only wait for input or requests are in `SERVES` too.
const APPLETS: &[&str] = &[
    "[", "ash", "bash", "cat", "date", "echo", "env", "false", "hostname", "httpd", "id", "ls", "mkdir",
    "nc", "ping", "printenv", "printf", "ps", "pwd", "rm", "sh", "sleep", "tail", "test", "top", "touch",
    "true", "uname", "wget", "yes",
];
const SERVES: &[&str] = &["cat", "httpd", "nc", "ping", "tail", "top", "yes"];
const SHELLS: &[&str] = &["sh", "ash", "bash"];

/// One step of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ProgramStep {
    /// Prints a line.
    Print(Bytes),
    /// Sleeps for this many milliseconds.
    Wait(u64),
    /// Exits.
    End(Exit),
}

/// The steps of a process, and its reaction to SIGTERM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    first: Vec<ProgramStep>,
    /// Repeated indefinitely after `first`.
    again: Vec<ProgramStep>,
    /// Output and exit code on SIGTERM. `None`: the signal has no effect (it is PID 1, for which the
    /// kernel has no default action), and the process is killed after the grace period.
    on_terminate: Option<(Vec<Bytes>, i64)>,
}

fn exit(code: i64) -> Exit {
    Exit { code, out_of_memory: false }
}

impl Program {
    /// Compiles entrypoint and command of `spec`; without both it is the image's own server, which runs
    /// indefinitely.
    ///
    /// # Errors
    /// The name of the executable that is missing in the image.
    pub(super) fn of(spec: &Spec) -> Result<Self, String> {
        let words: Vec<&str> = spec.entrypoint.iter().chain(&spec.command).map(String::as_str).collect();
        let Some(executable) = words.first() else {
            return Ok(Self {
                first: vec![ProgramStep::Wait(FOREVER)],
                again: Vec::new(),
                on_terminate: Some((Vec::new(), 0)),
            });
        };
        let name = executable.rsplit('/').next().unwrap_or(executable);
        let image = short_name(&spec.docker_image);
        let own = !image.is_empty() && name.starts_with(image);
        if !own && !APPLETS.contains(&name) {
            return Err((*executable).to_owned());
        }
        let mut shell = ScriptShell::new(spec);
        if let (true, Some(&"-c"), Some(script)) = (SHELLS.contains(&name), words.get(1), words.get(2)) {
            shell.script(script);
        } else if own && !APPLETS.contains(&name) {
            shell.wait(FOREVER);
            shell.on_terminate = Some((Vec::new(), 0));
        } else {
            shell.run(&words);
        }
        Ok(shell.finish())
    }

    /// When it exits by itself, in milliseconds since its start, and how; `None`: never.
    pub(super) fn end(&self) -> Option<(u64, Exit)> {
        let mut at = 0_u64;
        for step in self.first.iter().chain(&self.again) {
            match step {
                ProgramStep::Print(_) => {}
                ProgramStep::Wait(FOREVER) => return None,
                ProgramStep::Wait(ms) => at = at.saturating_add(*ms),
                ProgramStep::End(exit) => return Some((at, *exit)),
            }
        }
        None
    }

    /// The output from `from_ms` to `until_ms`, both included, with times in milliseconds since its start.
    pub(super) fn output(&self, from_ms: u64, until_ms: u64) -> Vec<(u64, Bytes)> {
        let mut lines = Vec::new();
        self.walk(from_ms, |at, line| {
            if at <= until_ms {
                lines.push((at, line.clone()));
            }
            at <= until_ms
        });
        lines
    }

    /// The time of its next output after `after_ms`, in milliseconds since its start.
    pub(super) fn next_output(&self, after_ms: u64) -> Option<u64> {
        let mut next = None;
        self.walk(after_ms.saturating_add(1), |at, _| {
            next = Some(at);
            false
        });
        next
    }

    /// Whether it never prints.
    pub(super) fn is_silent(&self) -> bool {
        !self.first.iter().chain(&self.again).any(|step| matches!(step, ProgramStep::Print(_)))
    }

    /// Output and exit code on SIGTERM; `None`: it has to be killed.
    pub(super) fn on_terminate(&self) -> Option<&(Vec<Bytes>, i64)> {
        self.on_terminate.as_ref()
    }

    /// Visits its output at or after `from_ms`, in order, until `visit` returns false or the program exits.
    fn walk(&self, from_ms: u64, mut visit: impl FnMut(u64, &Bytes) -> bool) {
        let mut at = 0_u64;
        let mut pass = |steps: &[ProgramStep], at: &mut u64| {
            for step in steps {
                match step {
                    ProgramStep::Print(line) if *at >= from_ms && !visit(*at, line) => return false,
                    ProgramStep::Print(_) => {}
                    ProgramStep::Wait(FOREVER) | ProgramStep::End(_) => return false,
                    ProgramStep::Wait(ms) => *at = at.saturating_add(*ms),
                }
            }
            true
        };
        if !pass(&self.first, &mut at) {
            return;
        }
        let round: u64 = self
            .again
            .iter()
            .map(|step| if let ProgramStep::Wait(ms) = step { *ms } else { 0 })
            .fold(0, u64::saturating_add);
        let prints = self.again.iter().any(|step| matches!(step, ProgramStep::Print(_)));
        if round == 0 || !prints {
            // A loop without a pause prints its lines once here instead of endlessly.
            pass(&self.again, &mut at);
            return;
        }
        // Skip whole rounds before `from_ms`.
        at = at.saturating_add(from_ms.saturating_sub(at) / round * round);
        while pass(&self.again, &mut at) && at < FOREVER - round {}
    }
}

/// `ghost` of `registry:5000/library/ghost:5@sha256:…`.
fn short_name(image: &str) -> &str {
    let path = image.split('@').next().unwrap_or(image);
    let last = path.rsplit('/').next().unwrap_or(path);
    last.split(':').next().unwrap_or(last)
}

/// Parses `3`, `0.2`, `2m` or `infinity` to milliseconds.
fn pause_ms(text: &str) -> Option<u64> {
    if text.starts_with("inf") {
        return Some(FOREVER);
    }
    let (number, unit) = match text.char_indices().last()? {
        (at, 's') => (&text[..at], 1_000),
        (at, 'm') => (&text[..at], 60_000),
        (at, 'h') => (&text[..at], 3_600_000),
        (at, 'd') => (&text[..at], 86_400_000),
        _ => (text, 1_000),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let thousandths: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    whole.checked_mul(unit)?.checked_add(thousandths * unit / 1_000)
}

/// A word or an operator of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `;`, `&&`, `||` or `&`.
    Operator(&'static str),
    /// Redirects output to a file.
    ToFile,
}

/// Runs a script while compiling it: its steps are what it did.
struct ScriptShell {
    variables: BTreeMap<String, String>,
    steps: Vec<ProgramStep>,
    again: Vec<ProgramStep>,
    status: i64,
    ended: bool,
    on_terminate: Option<(Vec<Bytes>, i64)>,
}

impl ScriptShell {
    fn new(spec: &Spec) -> Self {
        Self {
            variables: spec.env_variables.clone(),
            steps: Vec::new(),
            again: Vec::new(),
            status: 0,
            ended: false,
            on_terminate: None,
        }
    }

    fn finish(mut self) -> Program {
        if !self.ended {
            self.steps.push(ProgramStep::End(exit(self.status)));
        }
        Program { first: self.steps, again: self.again, on_terminate: self.on_terminate }
    }

    fn wait(&mut self, ms: u64) {
        self.steps.push(ProgramStep::Wait(ms));
        self.ended |= ms == FOREVER;
    }

    fn end(&mut self, how: Exit) {
        self.steps.push(ProgramStep::End(how));
        self.ended = true;
    }

    fn print(&mut self, text: &str) {
        self.steps.push(ProgramStep::Print(Bytes::from(format!("{text}\n"))));
        self.status = 0;
    }

    fn script(&mut self, script: &str) {
        let tokens = tokens(script);
        self.list(&tokens);
    }

    /// A list of commands, up to its end.
    fn list(&mut self, tokens: &[Token]) {
        let mut rest = tokens;
        let mut skip = false;
        while !rest.is_empty() && !self.ended {
            if let Some((condition, body, after)) = loop_at(rest) {
                if !skip {
                    self.repeat(condition, body);
                }
                rest = after;
                continue;
            }
            let end = rest.iter().position(|t| matches!(t, Token::Operator(_))).unwrap_or(rest.len());
            let (command, after) = rest.split_at(end);
            if !skip && !command.is_empty() {
                self.command(command, after.first() == Some(&Token::Operator("&")));
            }
            skip = match after.first() {
                Some(Token::Operator("&&")) => self.status != 0,
                Some(Token::Operator("||")) => self.status == 0,
                _ => false,
            };
            rest = after.get(1..).unwrap_or_default();
        }
    }

    /// `while`, `until` and `for`. A condition is evaluated once: nothing here changes its result.
    fn repeat(&mut self, condition: &[Token], body: &[Token]) {
        let words: Vec<String> = condition.iter().filter_map(|t| self.expand(t)).collect();
        if let [word, name, within, values @ ..] = words.as_slice()
            && word == "for"
            && within == "in"
        {
            for value in values.iter().flat_map(|v| v.split_whitespace()) {
                if self.ended || self.steps.len() > MAX_STEPS {
                    return;
                }
                self.variables.insert(name.clone(), value.to_owned());
                self.list(body);
            }
            return;
        }
        let succeeds = !matches!(words.get(1).map(String::as_str), Some("false"));
        if succeeds == (words.first().map(String::as_str) == Some("while")) {
            let before = std::mem::take(&mut self.steps);
            self.list(body);
            let round = std::mem::replace(&mut self.steps, before);
            if self.ended {
                self.steps.extend(round);
            } else {
                self.again = round;
                self.ended = true;
            }
        }
    }

    fn command(&mut self, tokens: &[Token], in_background: bool) {
        let words: Vec<String> = tokens.iter().filter_map(|t| self.expand(t)).collect();
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        while let Some((name, value)) = words.first().and_then(|w| w.split_once('='))
            && !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        {
            self.variables.insert(name.to_owned(), value.to_owned());
            words.remove(0);
        }
        // Background commands are waited for by `wait`, which is the only use that the scripts make of them.
        let before = self.steps.len();
        if !words.is_empty() && before <= MAX_STEPS {
            self.run(&words);
        }
        let mut made = self.steps.split_off(before);
        if tokens.contains(&Token::ToFile) {
            made.retain(|step| !matches!(step, ProgramStep::Print(_)));
        }
        if in_background {
            let pauses = made.iter().map(|step| if let ProgramStep::Wait(ms) = step { *ms } else { 0 });
            self.variables.insert("!".to_owned(), pauses.fold(0, u64::saturating_add).to_string());
            made.retain(|step| matches!(step, ProgramStep::Print(_)));
            self.ended = false;
        }
        self.steps.extend(made);
    }

    /// One command, its name first.
    fn run(&mut self, words: &[&str]) {
        let Some((executable, arguments)) = words.split_first() else { return };
        let name = executable.rsplit('/').next().unwrap_or(executable);
        self.status = match name {
            "true" | ":" | "set" | "cd" | "export" | "mkdir" | "touch" | "rm" => 0,
            "false" => 1,
            "exit" => {
                let code = arguments.first().and_then(|a| a.parse::<i64>().ok()).unwrap_or(self.status);
                return self.end(exit(code & 0xff));
            }
            "exec" => return self.run(arguments),
            "echo" => {
                let plain = arguments.iter().skip_while(|a| matches!(**a, "-n" | "-e"));
                let line = plain.copied().collect::<Vec<_>>().join(" ");
                return self.print(&line);
            }
            "printf" => {
                let text = arguments.first().unwrap_or(&"").replace("\\n", "\n");
                return text.lines().for_each(|line| self.print(line));
            }
            "env" | "printenv" if arguments.is_empty() => {
                let all: Vec<String> = self.variables.iter().map(|(k, v)| format!("{k}={v}")).collect();
                return all.iter().for_each(|line| self.print(line));
            }
            "printenv" => match arguments.first().and_then(|name| self.variables.get(*name)).cloned() {
                Some(value) => return self.print(&value),
                None => 1,
            },
            "sleep" => {
                let pauses: Option<Vec<u64>> = arguments.iter().map(|a| pause_ms(a)).collect();
                match pauses {
                    Some(pauses) if !pauses.is_empty() => {
                        self.wait(pauses.into_iter().fold(0, u64::saturating_add));
                        0
                    }
                    _ => 1,
                }
            }
            "wait" => {
                let ms = self.variables.get("!").and_then(|ms| ms.parse().ok()).unwrap_or(0);
                self.wait(ms);
                0
            }
            "trap" => {
                if let Some((handler, signals)) = arguments.split_first()
                    && signals.iter().any(|s| matches!(*s, "TERM" | "SIGTERM" | "15"))
                {
                    self.on_terminate = self.handler(handler);
                }
                0
            }
            "kill" => match arguments {
                [signal, "$$" | "1" | "0"] => return self.end(exit(128 + signal_number(signal))),
                _ => 0,
            },
            // The classic way to run out of memory: it buffers its input's last line, which never ends.
            "tail" if arguments.contains(&"/dev/zero") => {
                self.wait(200);
                return self.end(Exit { code: 137, out_of_memory: true });
            }
            "sh" | "ash" | "bash" => match arguments {
                ["-c", script, ..] => return self.script(script),
                _ => 0,
            },
            "id" | "pwd" | "date" | "uname" | "hostname" | "ls" | "ps" | "wget" | "test" | "[" | "env" => 0,
            other if SERVES.contains(&other) => {
                self.wait(FOREVER);
                0
            }
            _ => 127,
        };
    }

    /// The effect of a trap; `None` for one that ignores the signal.
    fn handler(&self, script: &str) -> Option<(Vec<Bytes>, i64)> {
        let mut shell = ScriptShell {
            variables: self.variables.clone(),
            steps: Vec::new(),
            again: Vec::new(),
            status: 0,
            ended: false,
            on_terminate: None,
        };
        shell.script(script);
        let code =
            shell.steps.iter().find_map(|s| if let ProgramStep::End(e) = s { Some(e.code) } else { None })?;
        let lines = shell
            .steps
            .into_iter()
            .filter_map(|s| if let ProgramStep::Print(l) = s { Some(l) } else { None });
        Some((lines.collect(), code))
    }

    /// The word with its variables replaced. A mark (see [`tokens`]) precedes each `$` to replace.
    fn expand(&self, token: &Token) -> Option<String> {
        let Token::Word(word) = token else { return None };
        let mut parts = word.split(MARK);
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = match part.strip_prefix('{').and_then(|p| p.split_once('}')) {
                Some(braced) => braced,
                None if part.starts_with(['?', '$', '!']) => part.split_at(1),
                None => part.split_at(
                    part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(part.len()),
                ),
            };
            match name {
                "?" => text.push_str(&self.status.to_string()),
                "$" => text.push_str("$$"),
                "" => text.push('$'),
                name => text.push_str(self.variables.get(name).map_or("", String::as_str)),
            }
            text.push_str(rest);
        }
        Some(text)
    }
}

/// Marks a `$` that is not quoted.
const MARK: char = '\u{1}';

fn signal_number(name: &str) -> i64 {
    match name.trim_start_matches('-').trim_start_matches("SIG") {
        "HUP" | "1" => 1,
        "INT" | "2" => 2,
        "QUIT" | "3" => 3,
        "ABRT" | "6" => 6,
        "SEGV" | "11" => 11,
        "TERM" | "15" => 15,
        _ => 9,
    }
}

/// Splits a script as a shell does. Of redirections it keeps only that the output goes elsewhere.
fn tokens(script: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = script.chars().peekable();
    while let Some(c) = characters.next() {
        let token = match c {
            '\'' => {
                let text = word.get_or_insert_default();
                text.extend(characters.by_ref().take_while(|c| *c != '\''));
                continue;
            }
            '"' => {
                let text = word.get_or_insert_default();
                while let Some(c) = characters.next().filter(|c| *c != '"') {
                    match c {
                        '\\' => text.extend(characters.next()),
                        '$' => text.push(MARK),
                        other => text.push(other),
                    }
                }
                continue;
            }
            '\\' => {
                word.get_or_insert_default().extend(characters.next());
                continue;
            }
            '$' => {
                word.get_or_insert_default().push(MARK);
                continue;
            }
            ' ' | '\t' => None,
            ';' | '\n' => Some(Token::Operator(";")),
            '&' => Some(Token::Operator(if characters.next_if_eq(&'&').is_some() { "&&" } else { "&" })),
            '|' if characters.next_if_eq(&'|').is_some() => Some(Token::Operator("||")),
            '>' | '<' => {
                // The number of the redirected stream.
                word = word.filter(|w| !w.bytes().all(|b| b.is_ascii_digit()));
                while characters.next_if(|c| matches!(c, '>' | ' ')).is_some() {}
                let to_stream = characters.next_if_eq(&'&').is_some();
                while characters.next_if(|c| !c.is_whitespace() && !";&|".contains(*c)).is_some() {}
                (c == '>' && !to_stream).then_some(Token::ToFile)
            }
            other => {
                word.get_or_insert_default().push(other);
                continue;
            }
        };
        tokens.extend(word.take().map(Token::Word));
        tokens.extend(token);
    }
    tokens.extend(word.map(Token::Word));
    tokens
}

/// Splits `while CONDITION; do BODY; done` at the start of `tokens` into condition, body and the rest.
fn loop_at(tokens: &[Token]) -> Option<(&[Token], &[Token], &[Token])> {
    let is = |token: &Token, words: &[&str]| matches!(token, Token::Word(w) if words.contains(&w.as_str()));
    if !is(tokens.first()?, &["while", "until", "for"]) {
        return None;
    }
    let body = tokens.iter().position(|t| is(t, &["do"]))?;
    let mut depth = 0_usize;
    let end = tokens.iter().position(|t| {
        depth += usize::from(is(t, &["do"]));
        depth -= usize::from(depth > 0 && is(t, &["done"]));
        depth == 0 && is(t, &["done"])
    })?;
    Some((&tokens[..body], &tokens[body + 1..end], tokens.get(end + 2..).unwrap_or_default()))
}
